"""What the books may refuse, by what the caller must do.

BookError
├── AppendOnlyViolation     someone tried to change a written row: a bug, stop
├── ConflictingEntry        the same id came with other facts: quarantine it, page someone
├── NotRecorded             a reversal of something not in these books: look it up
└── DayNotClosable          an earlier day is open, or a later one is closed already
"""


class BookError(Exception):
    pass


class AppendOnlyViolation(BookError):
    pass


class ConflictingEntry(BookError):
    pass


class NotRecorded(BookError):
    pass


class DayNotClosable(BookError):
    pass
