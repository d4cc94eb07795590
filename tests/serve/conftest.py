"""A service over the tiny run, and what asks it."""

import pytest


@pytest.fixture(scope="session")
def open_tiny(finished):
    """Open the tiny run, or what else is named, with limits of choice."""
    from tag2mask import Runtime
    from tag2mask.serve.limits import Limits
    from tag2mask.serve.server import open_service
    from tag2mask.serve.task_images import TaskImages

    def open_it(target=finished.work, *, origin=None, changes=(), **limits):
        bounds = Limits(**limits)
        images = TaskImages(origin, None, bounds.upload_bytes)
        runtime = Runtime(workers=1)
        return open_service(
            target, dict(changes), limits=bounds, task_images=images, runtime=runtime
        )

    return open_it


@pytest.fixture(scope="session")
def client_of():
    """Return a client of a service; it is closed when the test ends."""
    from starlette.testclient import TestClient

    from tag2mask.serve.app import make_app

    def make(service, **door):
        return TestClient(make_app(service, **door), base_url="http://127.0.0.1:8000")

    return make


@pytest.fixture(scope="module")
def client(open_tiny, client_of):
    with client_of(open_tiny()) as found:
        yield found


@pytest.fixture(scope="session")
def photo(world):
    """The bytes of one picture of the world."""
    return (world / "images" / "val_00000.png").read_bytes()
