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

// unpack fills dst from what pack wrote, width at most 32.
func unpack(dst []int32, packed []byte, width int) {
	mask := uint64(1)<<width - 1
	whole := 0 // numbers that can be read as a part of 8 bytes
	if len(packed) >= 8 {
		whole = min(len(dst), (8*(len(packed)-8)+7)/width+1)
	}
	for i := range dst[:whole] {
		at := i * width
		dst[i] = int32(binary.LittleEndian.Uint64(packed[at>>3:]) >> (at & 7) & mask)
	}
	if whole == len(dst) {
		return
	}
	var last [16]byte // the others, and zeros behind
	from := whole * width >> 3
	copy(last[:], packed[from:])
	for i := whole; i < len(dst); i++ {
		at := i*width - 8*from
		dst[i] = int32(binary.LittleEndian.Uint64(last[at>>3:]) >> (at & 7) & mask)
	}
}
