package signal

import "encoding/binary"

// Numbers of so many bits follow each other without gap, the lowest bit first.

// packedBytes is how many bytes n numbers of width bits take.
func packedBytes(n, width int) int { return (n*width + 7) / 8 }

// pack appends values, each below 2^width, width at most 32.
func pack(dst []byte, values []uint32, width int) []byte {
	var held uint64
	n := 0
	for _, v := range values {
		held |= uint64(v) << n
		for n += width; n >= 8; n -= 8 {
			dst = append(dst, byte(held))
			held >>= 8
		}
	}
	if n > 0 {
		dst = append(dst, byte(held))
	}
	return dst
}

// unpacker reads what pack wrote. Beyond the end it reads zeros.
type unpacker struct {
	rest []byte
	held uint64
	n    int
}

func (u *unpacker) next(width int) uint32 {
	if u.n < width {
		if len(u.rest) >= 4 {
			u.held |= uint64(binary.LittleEndian.Uint32(u.rest)) << u.n
			u.rest = u.rest[4:]
			u.n += 32
		} else {
			for ; u.n < width && len(u.rest) > 0; u.n += 8 {
				u.held |= uint64(u.rest[0]) << u.n
				u.rest = u.rest[1:]
			}
			u.n = max(u.n, width)
		}
	}
	v := uint32(u.held & (1<<width - 1))
	u.held >>= width
	u.n -= width
	return v
}
