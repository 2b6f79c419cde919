#!/usr/bin/env python3
"""Starts llama.cpp's own HTTP server on loopback and stays with it.

    serve.py --model FILE.gguf --port 8090 --alias smollm2 --slots 4 --context 2048 --threads 1

Prints one line, "ready http://127.0.0.1:PORT", once it answers. Stops on SIGTERM, on SIGINT, and when the
process that started it dies in whatever way, so a killed supervisor leaves no engine behind.
"""

import argparse
import ctypes
import os
import signal
import sys
import threading

PR_SET_PDEATHSIG = 1
# Sent by the kernel when our parent goes. Not SIGTERM: the kernel also sends it when merely the parent's
# *thread* that started us ends, so the receiver has to look before it leaves.
PARENT_GONE = signal.SIGUSR1
STOP = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
# Prompt states kept in RAM beside the slots' own. The library's default of 8 GiB is no size for a machine
# that also runs a broker.
PROMPT_CACHE_MIB = 256
# HTTP workers beyond one per slot: health, metrics and slots must answer while every slot streams.
SPARE_HTTP_THREADS = 8


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="path of a GGUF file")
    parser.add_argument("--port", type=int, default=8090, help="port on 127.0.0.1")
    parser.add_argument("--alias", help="name the engine gives the model (default: the file's name)")
    parser.add_argument("--slots", type=int, default=4, help="requests worked on at once")
    parser.add_argument("--context", type=int, default=2048, help="tokens of context for each slot")
    # Two engines' spinning threads on one core cost ten times what they bring.
    parser.add_argument("--threads", type=int, default=1, help="computing threads")
    parser.add_argument("--verbose", action="store_true", help="let the engine log (it may log prompts)")
    given = parser.parse_args()
    if not os.path.isfile(given.model):
        parser.error(f"no such model file: {given.model}")
    if min(given.slots, given.context, given.threads) < 1 or not 1 <= given.port <= 65535:
        parser.error("--slots, --context and --threads start at 1, --port is 1 to 65535")
    return given


def follow_parent():
    """Asks the kernel for a signal when the parent goes; returns the parent we had."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(PARENT_GONE), 0, 0, 0)
        if os.getppid() != parent:  # it went between the two lines above
            os._exit(0)
    return parent


def start(given):
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = given.model
    params.model_alias = {given.alias or os.path.splitext(os.path.basename(given.model))[0]}
    params.hostnames = ["127.0.0.1"]
    params.port = given.port
    params.n_parallel = given.slots
    params.n_ctx = given.slots * given.context
    params.kv_unified = False  # each slot owns its share, so one long prompt cannot starve the others
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = given.threads
    params.n_threads_http = given.slots + SPARE_HTTP_THREADS
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.endpoint_metrics = params.endpoint_slots = params.endpoint_props = True
    params.fit_params = False  # sizes are ours to choose; do not shrink them to what memory happens to be free
    params.use_jinja = True
    params.ui = False
    params.verbosity = 3 if given.verbose else 1
    return xllamacpp.Server(params)


def main():
    given = arguments()
    # Blocked before the library starts its threads, which inherit it: only the wait below takes them.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP | {PARENT_GONE})
    parent = follow_parent()
    servers = []

    def run():
        try:
            servers.append(start(given))
        except BaseException as error:  # whatever it is, without an engine there is nothing to stay for
            print(f"error: the engine did not start: {error}", file=sys.stderr, flush=True)
            os._exit(1)
        print(f"ready http://127.0.0.1:{given.port}", flush=True)

    threading.Thread(target=run, name="engine", daemon=True).start()
    while True:
        got = signal.sigwait(STOP | {PARENT_GONE})
        if got != PARENT_GONE or os.getppid() != parent:
            # Nothing here needs saving, and taking the server apart would wait for its open streams.
            os._exit(0)


if __name__ == "__main__":
    main()
