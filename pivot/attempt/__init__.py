"""An attempt: one start of a program that may be stopped, killed or replaced, and started again.

`directory` has its files, `lock` keeps a run directory to one live program, `monitor` is the thread that looks at both
and at whether the program still gets on, and `running` is what a program asks and tells.
"""
