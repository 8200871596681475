"""Chaos: a world is broken at random while requests run, and must keep its promises (after Basiri et al., "Chaos
Engineering", IEEE Software 2016).

storm     what happens when: a timeline by seed, pure
promises  what must hold all the while and afterwards, pure
virtual   a storm over a world in virtual time
real      the same over a running lab
"""
