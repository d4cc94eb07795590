import pytest
import torch

from tag2mask import config
from tag2mask.stages.localize import _saliency_losses

# one image of two pixels, with the first of two tags: background, tag, other tag
MAPS = torch.tensor([[0.2, 0.9], [0.7, 0.05], [0.1, 0.05]]).log().view(1, 3, 1, 2)
BATCH = {
    "image": MAPS,  # of a network that gives what it is given
    "tags": torch.tensor([[1.0, 0.0]]),
    "saliency": torch.tensor([[[255, 0]]], dtype=torch.uint8),
}


def losses(**knobs):
    settings = config.Saliency(folder="saliency", **knobs)
    return _saliency_losses(settings)(torch.nn.Identity(), BATCH, 0)


def test_saliency_is_a_loss_beside_that_of_the_tags():
    found = losses()
    # means of the logs: -0.5 (0.3567 + 2.9957) and -0.5 (2.3026 + 2.9957)
    logits = torch.tensor([-1.67621, -2.64916])
    softplus = torch.log1p(logits.exp())
    # of the tag that is there -log sigmoid(x) = softplus(-x), of the other softplus(x)
    expected = (softplus[0] - logits[0] + softplus[1]) / 2
    torch.testing.assert_close(
        found.terms["classification"], expected, rtol=1e-4, atol=0
    )
    # 255 is 1: (0.7, 0.05) / 2 + (0.8, 0.1) / 2 = (0.75, 0.075)
    by_hand = (0.25**2 + 0.075**2) / 2
    assert float(found.terms["saliency"]) == pytest.approx(by_hand)
    assert float(found.watched["accuracy"]) == 0.5  # neither tag is called present


@pytest.mark.parametrize("knob", [{"tau": 1.0}, {"balance": 0.9}])
def test_knobs_of_saliency_are_alive(knob):
    one, other = losses().terms["saliency"], losses(**knob).terms["saliency"]
    assert abs(float(one - other)) > 1e-3
