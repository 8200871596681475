"""What exists: the world file, its checks, and the plan that a world resolves to.

model*          what a file says, as written          load     text -> World, or every problem at once
document        YAML with positions                   shape    values against the model
references, check_*, names, matrix                    what must fit together
plan, spec, happenings                                what everything else of popnet reads
"""
