"""Two editions mixed, a teacher or a checkpoint: `python -m linocut_training.mixed A B WORK`.

Editions that went on from one another still are near enough that the mean of their weights draws
better than either (arXiv 2203.05482): what each learned by chance goes. Not what one of them alone
knows, which it half forgets: it can teach the rest. A share of 1 is one edition as it is.
"""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from torch import Tensor

from linocut_training import export, shipped, transformer
from linocut_training.network import Network
from linocut_training.parallel import save_state


def mixed(one: dict[str, Tensor], other: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """The weights of both, `share` of the first's; both have the same names and shapes."""
    if one.keys() != other.keys():
        raise ValueError(
            f"not of one kind: only in one of them {sorted(one.keys() ^ other.keys())}"
        )
    for name, weights in one.items():
        if weights.shape != other[name].shape:
            raise ValueError(
                f"not of one kind: {name} is {tuple(weights.shape)} in one of them and "
                f"{tuple(other[name].shape)} in the other"
            )
    if not 0 <= share <= 1:
        raise ValueError(f"share={share}: use 0 to 1")
    return {name: other[name].lerp(weights, share) for name, weights in one.items()}


def main() -> None:
    """Mix, and leave it in `out`, or where `--plan enriching` and `widening` look for a teacher."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("one", type=Path, help="folder of a checkpoint")
    parser.add_argument("other", type=Path)
    parser.add_argument("work", type=Path, help="of the training, with tokenizer and text encoder")
    parser.add_argument("--share", type=float, default=0.6, help="of the first one's weights")
    parser.add_argument("--out", type=Path, help="a checkpoint of it there, and no teacher")
    given = parser.parse_args()
    one, other = (shipped.network_of(folder).state_dict() for folder in (given.one, given.other))
    state = mixed(one, other, given.share)
    if given.out is None:
        save_state(given.work / transformer.EARLIER, state)
        return
    network = Network(0)
    network.load_state_dict(state)
    export.export_network(given.out, network, given.work)


if __name__ == "__main__":
    main()
