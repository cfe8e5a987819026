"""ONNX Runtime beside features.c; --model is of peer_torch.py export."""
import os

import onnxruntime

import peer

o = peer.arguments().parse_args()
settings = onnxruntime.SessionOptions()
settings.intra_op_num_threads = o.threads or len(os.sched_getaffinity(0))
session = onnxruntime.InferenceSession(o.model, settings, providers=["CPUExecutionProvider"])
images = {session.get_inputs()[0].name: peer.values(o.batch, 3, 224, 224)}


def step():
    return session.run(None, images)[0]


peer.show_features(step())
peer.take_turns(o, f"ONNX Runtime {onnxruntime.__version__}", step)
