"""The embedded world: a small orders desk with tools, a scripted expert, skills, a tokenizer and a corpus."""
