"""OpenVINO beside features.c; --model is of peer_torch.py export."""
import os

import openvino

import peer

o = peer.arguments().parse_args()
core = openvino.Core()
if o.precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
    peer.skip("this processor has no bf16 for OpenVINO")
model = core.compile_model(o.model, "CPU", {
    "INFERENCE_PRECISION_HINT": o.precision,
    "PERFORMANCE_HINT": "LATENCY",  # all threads on one call
    "INFERENCE_NUM_THREADS": o.threads or len(os.sched_getaffinity(0))})
request = model.create_infer_request()
images = {0: peer.values(o.batch, 3, 224, 224)}


def step():
    return request.infer(images, share_inputs=True)[0]


peer.show_features(step())
peer.take_turns(o, f"OpenVINO {openvino.__version__.split('-')[0]}", step)
