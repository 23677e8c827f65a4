"""Short ways to write a row of the table."""

from signals.parameters.parameter import Parameter


class Group:
    """Makes the rows of one group of the table: a method per type."""

    def __init__(self, title: str) -> None:
        self.title = title

    def int(self, name: str, default: int, low: int, high: int, unit: str, help: str) -> Parameter:
        return Parameter(
            name=name,
            kind="int",
            default=default,
            low=low,
            high=high,
            unit=unit,
            group=self.title,
            help=help,
        )

    def float(
        self, name: str, default: float, low: float, high: float, unit: str, help: str
    ) -> Parameter:
        return Parameter(
            name=name,
            kind="float",
            default=float(default),
            low=low,
            high=high,
            unit=unit,
            group=self.title,
            help=help,
        )

    def bool(self, name: str, default: bool, help: str) -> Parameter:
        return Parameter(name=name, kind="bool", default=default, group=self.title, help=help)

    def choice(self, name: str, default: str, choices: tuple[str, ...], help: str) -> Parameter:
        return Parameter(
            name=name, kind="choice", default=default, choices=choices, group=self.title, help=help
        )

    def list(
        self, name: str, default: tuple[str, ...], choices: tuple[str, ...], help: str
    ) -> Parameter:
        return Parameter(
            name=name,
            kind="list",
            default=[*default],
            choices=choices,
            group=self.title,
            help=help,
        )
