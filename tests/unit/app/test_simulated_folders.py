"""Where a simulated machine has its tree, and that two of them do not disturb each other."""

from __future__ import annotations

from pathlib import Path

from ibdra_app.settings import Settings
from ibdra_app.sources import scratched


def test_the_two_agents_of_an_update_have_a_tree_each(tmp_path: Path) -> None:
    """The one that goes takes its own away; with the last one nothing is left."""

    def of(instance: str) -> Settings:
        return Settings(
            simulate="dgx-h100", real_processes=True, run_folder=tmp_path, instance=instance
        )

    with scratched(of("new")) as new:
        with scratched(of("old")) as old:
            assert new.scratch is not None
            assert old.scratch not in {None, new.scratch}
        assert new.scratch.is_dir()
    assert [] == list(tmp_path.iterdir())


def test_a_tree_that_a_killed_agent_left_is_made_anew(tmp_path: Path) -> None:
    """Nothing of the old one is taken for the machine."""
    settings = Settings(simulate="dgx-h100", real_processes=True, run_folder=tmp_path)
    killed = scratched(settings)
    old = killed.__enter__().scratch
    assert old is not None
    (old / "class").touch()
    with scratched(settings) as now:
        assert old == now.scratch
        assert [] == list(old.iterdir())
