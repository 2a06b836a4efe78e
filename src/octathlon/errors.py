"""The one exception that a user is meant to read."""


class OctathlonError(Exception):
    """A mistake outside this code: bad input, a missing file, a full disk.

    The message is one sentence that says what is wrong, which file or key, and what to do. The command line
    prints it without a traceback and exits with 1; anything else that is raised is a defect of ours and keeps
    its traceback.
    """
