"""The two errors that a user can cause, and what becomes of each."""


class InputError(Exception):
    """Bad recipe, manifest, protocol, option or weights: one sentence, before any clip is touched.

    Or an engine that is lost while it computes.

    The command line prints it and exits with status 2.
    """


class ClipError(Exception):
    """One clip cannot be processed: a row in the failures ledger, and the rest goes on.

    The message is the reason alone; whoever catches it knows the clip and the stage.
    The command exits with status 1 at the end.
    """
