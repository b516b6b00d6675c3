"""The command `boxwright`: one file per verb, imported when it is called."""
