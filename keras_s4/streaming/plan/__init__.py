"""The plan of a stream: which layer runs when, and what it does in time. It holds no tensors.

Both the float step mode and the lowering to integer programs walk a plan. A layer's stride, delay, padding and pooling
over time, and the sentences that refuse it, stand in a rule here, one module a family of layers; rules of layers of
one's own are registered along with their streamers and lowerings.
"""

from keras_s4.streaming.plan import all_steps, windows  # noqa: F401 their rules
from keras_s4.streaming.plan.each_step import MERGING, UNCHANGING
from keras_s4.streaming.plan.flow import Effect, Flow, Reach
from keras_s4.streaming.plan.planning import Call, Plan, Purpose, plan_call, plan_of
from keras_s4.streaming.plan.rules import RefusedError, register_effect, rule
from keras_s4.streaming.plan.timing import EVERY_STEP, Timing

__all__ = [
    "EVERY_STEP",
    "MERGING",
    "UNCHANGING",
    "Call",
    "Effect",
    "Flow",
    "Plan",
    "Purpose",
    "Reach",
    "RefusedError",
    "Timing",
    "plan_call",
    "plan_of",
    "register_effect",
    "rule",
]
