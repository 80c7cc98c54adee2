"""An application of LiteLLM whose ``generic_api`` callback logs to the address it is given.

Asks a model that is made up, again and again, until the file it is given exists.
"""

import asyncio
import os
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # nothing is fetched

import litellm
from litellm.integrations.generic_api.generic_api_callback import GenericAPILogger

BATCH = 10


async def main(endpoint: str, log_format: str, should_stop: Callable[[], bool]) -> None:
    logger = GenericAPILogger(
        endpoint=f"{endpoint}/v1/litellm", log_format=log_format, batch_size=BATCH, flush_interval=1
    )
    litellm.callbacks = [logger]
    for number in count():
        if should_stop():
            break
        await litellm.acompletion(
            model="gpt-4o",
            messages=[{"role": "user", "content": f"Which is {number}?"}],
            mock_response=f"It is number {number}.",
        )
        await asyncio.sleep(0.01)  # as fast as people are, the more so while nobody listens
    await logger.async_send_batch()


asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]).exists))
