"""Introductions: a third node passes sealed offers and answers between two that cannot reach each other yet.

Pure machines: what the introducer does (:mod:`~librats.introduce.passing`), what the one who is called makes of an
offer (:mod:`~librats.introduce.guard`), and the letters between the two, which the introducer cannot read
(:mod:`~librats.introduce.sealing`, :mod:`~librats.introduce.letters`).
"""
