"""The one exception that a user's mistake raises."""


class UserError(Exception):
    """A mistake that the user can fix: wrong path, key, value or file.

    The message is one line that names the file, line or key and the fix. Programs print it without a traceback
    and exit with status 2.
    """
