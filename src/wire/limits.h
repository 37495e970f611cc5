// SPDX-License-Identifier: BSD-3-Clause
/*
 * The numbers of the protocol.  proto/limits.txt lists them for other
 * implementations; a test fails when the two differ.
 */
#ifndef WIRE_LIMITS_H
#define WIRE_LIMITS_H

#define WIRE_VERSION            1u

#define WIRE_CONTROL_BYTES      1048576u    /* a control or event message */
#define WIRE_DEPTH              5u          /* nesting of maps and lists */
#define WIRE_OBJECTS            65536u      /* values in one message */

#define WIRE_CHUNK_BYTES_MIN    32u
#define WIRE_CHUNK_BYTES        1024u       /* default */
#define WIRE_CHUNK_BYTES_MAX    1048576u
#define WIRE_CHUNKS             4294967295u /* chunks of one bitmap */

#define WIRE_ENVELOPE_BYTES     20u         /* bytes of a frame that are not payload, at most */
#define WIRE_FRAME_CHUNKS       65535u      /* chunks that one frame covers, at most */
#define WIRE_HANDLE_MAX         65535u
#define WIRE_EPOCH_MAX          4294967295u /* attempts of one session; a frame carries the lowest 8 bits */

#define WIRE_SESSION_BITMAPS    64u
#define WIRE_WORKERS            16u
#define WIRE_SEGMENTS           1024u       /* digests in one seal */
#define WIRE_MISSING_RANGES     4096u       /* in one answer to an attempt */
#define WIRE_EXTENT_NUMBERS     8192u       /* in one answer to bitmap-extents */
#define WIRE_BLOCK_BYTES        655392u     /* one block of a dump: it fits into a control message */
#define WIRE_ENDPOINT_BYTES     255u
#define WIRE_WAIT_MS            10000u      /* the longest time that a reply is held back */

#endif
