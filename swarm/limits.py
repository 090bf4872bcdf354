"""Every constant of the wire protocol, with its reason and what breaks when it changes.

Peers must agree on these. Anything that a node may choose for itself is config, not a limit.
"""

from __future__ import annotations

# Version of announcements, invites and the messages on streams. Changing breaks: everything; nodes of another version
# are refused in words. Bodies and manifests are as in version 1, and have versions of their own.
PROTOCOL_VERSION = 2
BODY_VERSION = 1  # Changing breaks: bodies are refused
MANIFEST_VERSION = 1  # Changing breaks: every swarm id

# --- announcements -----------------------------------------------------------------------------------------
# One announcement with signature, bytes. Typical is 250-400. A DHT answer carries a shard's whole dictionary
# and hivemind drops answers over 4 MiB, so 4,096 announcements fit in one shard whatever they hold.
# Changing breaks: validators refuse what other nodes publish.
MAX_ANNOUNCEMENT = 1024
# Longest life of an announcement, seconds, and that of every honest one: whoever lived longer would outlast the others
# in a full shard. Bounds how long a dead node's entries stay. Changing breaks: as above.
MAX_LIFETIME = 600.0
# Clock difference tolerated between honest nodes, seconds. Changing breaks: nodes with drifting clocks vanish.
CLOCK_SKEW = 30.0
MAX_TASKS_ANNOUNCED = 8
MAX_ADDRESSES = 3
MAX_ADDRESS = 128  # bytes of one multiaddr as text
MAX_FINGERPRINT = 64  # characters of a policy's description
MAX_SHARD_DEPTH = 20
# Ed25519: the key of a private swarm, and a member's proof. Changing breaks: private swarms.
MEMBER_KEY_SIZE = 32
TOKEN_SIZE = 64

# --- bodies --------------------------------------------------------------------------------------------------
# A body on the wire and after decompression, bytes. 64 groups of 8 x 512 tokens of text take about 1 MB raw.
# Changing breaks: larger bodies of other nodes are refused.
MAX_BODY = 4 * 2**20
MAX_BODY_RAW = 16 * 2**20
MAX_BODY_WINDOW = 8 * 2**20  # zstd window: memory that a frame may ask of its reader
MAX_GROUPS = 256  # groups in one body
MAX_ROLLOUTS = 1024  # rollouts in one group: BroRL uses 512
# Rollouts in one body: four groups of BroRL's 512. A frame of 107 bytes can stand for that many one-letter
# rollouts: 2,048 take 5 ms to decode, 16,384 took 37 ms. Changing breaks: larger bodies are refused.
MAX_BODY_ROLLOUTS = 2048
MAX_TEXT = 64 * 1024  # UTF-8 bytes of one completion
# One finished image, bytes as it travels and pixels a side. A smooth 1,024 x 1,024 photo takes 126 kB.
# Changing breaks: larger images are refused.
MAX_IMAGE = 512 * 1024
MAX_IMAGE_SIDE = 1024
MAX_GROUP_IMAGES = 4  # of one group: the best and the worst, which is what there is to learn from
# Pixels of all images of a body, bytes once opened: 21 groups of four of 512 x 512. One flat image of 1,024 x 1,024
# takes 2 kB, and repeated 200 times a body of 800 bytes, which took 3.3 CPU s and 600 MB to open.
# Changing breaks: bodies of more are refused.
MAX_BODY_PIXELS = 64 * 2**20
MAX_TASK_NAME = 96  # characters
MAX_ID = 128  # characters of a swarm id or PeerID

# --- streams -------------------------------------------------------------------------------------------------
# The number in these names is that of the frames (status, length, payload). The version of the messages is in every
# request, so that a node of another version gets words instead of "protocol not supported".
FETCH_PROTOCOL = "/murmur/fetch/1"  # Changing breaks: nobody finds the handler
PUSH_PROTOCOL = "/murmur/push/1"  # bodies of peers that cannot be dialled, to those who keep them
REACH_PROTOCOL = "/murmur/reach/1"  # asks a peer to dial back
ANNOUNCEMENTS_PROTOCOL = "/murmur/announcements/1"  # asks a peer for announcements that it has heard of
MAX_TOLD = 64  # announcements in one answer to that: 66 kB. Changing breaks: larger answers are refused
MAX_REQUEST = 2048  # bytes of one request
STREAM_TIMEOUT = 20.0  # seconds for one whole fetch
MAX_PIGGYBACK = 8  # announcements that ride on one fetch answer

# --- shared rows ---------------------------------------------------------------------------------------------
# Changing breaks: joiners without the file of a data task find nobody to ask.
ROWS_PROTOCOL = "/murmur/rows/1"
# Bytes of a piece before it is packed. Changing breaks: equal rows get other roots, so invites that name them.
ROWS_PIECE = 256 * 2**10
# Bytes of all rows of a task, as large as its file may be. What a node takes and hands on is its own choice below it.
# Changing breaks: larger ones are refused.
MAX_SHARED_ROWS = 256 * 2**20

# --- stats ---------------------------------------------------------------------------------------------------
STATS_PROTOCOL = "/murmur/stats/1"  # Changing breaks: observers see announcements and no stats
# One answer, bytes. 128 counters with the longest names take 8 KiB, so an asker sets aside little for anybody.
# Changing breaks: answers beyond are refused and the node looks silent.
MAX_STATS = 16 * 1024
MAX_COUNTERS = 128
MAX_COUNTER_NAME = 48  # characters
MAX_VERSION = 32  # characters of a program's version
