"""Services on fakes, as the routes have them."""

from tests.unit.web.conftest import make_services

__all__ = ["make_services"]
