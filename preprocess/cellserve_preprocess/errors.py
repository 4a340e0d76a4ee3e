"""The error a caller's parameter can cause."""


class ParameterError(ValueError):
    """A parameter has a value that is not allowed.

    Attributes:
        parameter: name of the parameter, as in the service's contract.
        value: the value that was refused.
        allowed: what would have been accepted, in words.
    """

    def __init__(self, parameter: str, value: object, allowed: str) -> None:
        super().__init__(f"{parameter} is {value}; allowed: {allowed}")
        self.parameter = parameter
        self.value = value
        self.allowed = allowed

    def __reduce__(self) -> tuple[type["ParameterError"], tuple[str, object, str]]:
        # Exceptions pickle by their message alone; worker processes need all three parts.
        return type(self), (self.parameter, self.value, self.allowed)
