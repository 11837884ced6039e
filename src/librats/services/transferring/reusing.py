"""What is there already is found: hashes are asked for, and looked for in what is older."""

from __future__ import annotations

from typing import TYPE_CHECKING

from librats.errors import TransferError
from librats.transfer.frames import Features, FrameType, encode_ranges, read_hashes

if TYPE_CHECKING:
    from librats.services.transferring.destination import DestinationFiles
    from librats.services.transferring.wire import Wire
    from librats.transfer.layout import Layout
    from librats.transfer.reusing import Reusing

__all__ = ["reuse"]


async def reuse(
    wire: Wire, reusing: Reusing, layout: Layout, destination: DestinationFiles, *, stall_timeout: float
) -> None:
    """Find what need not come. It may be begun anew over another stream where this one is lost.

    Args:
        wire: Over which a giver is asked; one that cannot do it is not.
        reusing: What to ask for, and where to look.
        layout: Of the manifest.
        destination: Where something older may be.
        stall_timeout: Seconds that the giver has for an answer.

    Raises:
        LostError: The session has ended.
        TransferError: The giver says something else, or nothing, or lies; or the disk fails.
    """
    if Features.HASHES not in wire.features:
        return
    reusing.ask_again()
    while reusing.next_window():
        while not reusing.is_window_whole:
            wants = reusing.wants()
            if wants:
                wire.send(encode_ranges(FrameType.HASHES_WANT, wants))
            frame = await wire.next_frame(stall_timeout)
            if frame.type == FrameType.HASHES:
                reusing.take(*read_hashes(frame.body))
            elif frame.type not in {FrameType.PAUSE, FrameType.RESUME}:
                raise TransferError("protocol", "a frame that was not asked for")
        for wanted in reusing.to_read():
            reusing.found(await destination.reuse(layout, wanted, reusing.index), wanted[1])
        reusing.end_window()
