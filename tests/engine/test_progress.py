from io import StringIO

import pytest
from rich.console import Console

from tag2mask.engine.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def shown(use, *, terminal=False):
    text = StringIO()
    console = Console(file=text, force_terminal=terminal, width=100)
    use(Progress(console))
    return text.getvalue()


def test_lines_tell_the_time_left(clock):
    def use(progress):
        with progress.task("seed", 100) as advance:
            for second in (10, 15, 20):
                clock[0] = second
                advance(10)

    assert shown(use) == (
        "seed: 10/100, 90 s left\n"  # 10 in 10 s, 90 to come
        "seed: 30/100, 47 s left\n"  # 30 in 20 s, 70 to come; none after 5 s only
        "seed: done in 20.0 s\n"
    )


def test_items_that_were_done_before_tell_nothing_of_the_speed(clock):
    def use(progress):
        with progress.task("train", 100, done=80) as advance:
            clock[0] = 10
            advance(5)

    # 5 in 10 s, 15 to come
    assert shown(use).splitlines()[0] == "train: 85/100, 30 s left"


def test_unknown_total_tells_the_end_only(clock):
    def use(progress):
        with progress.task("index", None) as advance:
            clock[0] = 30
            advance(1)

    assert shown(use) == "index: done in 30.0 s\n"


def test_error_passes_and_is_not_called_done():
    def use(progress):
        with pytest.raises(KeyError), progress.task("index", 2):
            raise KeyError

    assert shown(use) == ""


def test_terminal_has_a_bar():
    def use(progress):
        with progress.task("train", 3, done=1) as advance:
            advance(2)

    text = shown(use, terminal=True)
    assert "train" in text
    assert "3/3" in text


def test_say_prints_text_as_it_is():
    assert shown(lambda progress: progress.say("a [b] 12")) == "a [b] 12\n"


def test_no_console_shows_nothing(capfd):
    progress = Progress()
    progress.say("a")
    with progress.task("train", 3, done=1) as advance:
        advance(1)
    assert capfd.readouterr() == ("", "")
