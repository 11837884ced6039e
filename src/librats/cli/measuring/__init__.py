"""Measuring librats beside others: in turn, in processes of their own, with the CPU time of both ends.

``librats bench`` and the benchmarks of the source tree share it. A measurement on a shared machine says little, the
ratio of two that were made one after the other a lot more; so figures are compared in rounds, in each of which every
contender is measured once.
"""
