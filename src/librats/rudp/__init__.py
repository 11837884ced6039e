"""Reliable streams over datagrams, in the packets of librats 2: numbers, settings, and what a stream is told.

The machine is compiled: :class:`librats._core.rudp.RudpTable`, made by :meth:`RudpConfig.new_table`.
"""
