"""How a world comes up: the same commands and the same words, whatever its nodes are made of.

base.py     what a driver is
local.py    every node a network namespace of this machine
docker.py   every node a container of an engine; the one place that knows the Docker SDK

A driver brings labs up and ends them. What people do with a running lab is asked of the lab itself, by its sockets:
for a lab of containers `popnet` therefore runs again inside the container `lab`.
"""
