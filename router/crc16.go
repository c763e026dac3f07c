package router

import "bytes"

// Slots is the number of hash slots of a cluster; the cluster bus protocol fixes it.
const Slots = 16384

// crcTables[0] is the plain table of CRC16-XMODEM (polynomial 0x1021), crcTables[n] the same followed by n zero bytes.
// With eight of them eight bytes of a key are looked up at once instead of in a chain: 4 KiB that stay in the first cache.
var crcTables = makeCRCTables()

func makeCRCTables() *[8][256]uint16 {
	var t [8][256]uint16
	for i := range 256 {
		crc := uint16(i) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
		t[0][i] = crc
	}
	for n := 1; n < 8; n++ {
		for i := range 256 {
			prev := t[n-1][i]
			t[n][i] = prev<<8 ^ t[0][prev>>8]
		}
	}
	return &t
}

// crc16 is CRC16-XMODEM: polynomial 0x1021, start 0, nothing reflected, nothing inverted.
func crc16(b []byte) uint16 {
	t := crcTables
	var crc uint16
	for len(b) >= 8 {
		crc = t[7][b[0]^byte(crc>>8)] ^ t[6][b[1]^byte(crc)] ^
			t[5][b[2]] ^ t[4][b[3]] ^ t[3][b[4]] ^ t[2][b[5]] ^ t[1][b[6]] ^ t[0][b[7]]
		b = b[8:]
	}
	for _, c := range b {
		crc = crc<<8 ^ t[0][c^byte(crc>>8)]
	}
	return crc
}

// Slot returns the hash slot of a key. If the key has a non-empty part between its first '{' and the next '}', only that
// part counts, so that an application can put keys side by side.
func Slot(key []byte) uint16 {
	if open := bytes.IndexByte(key, '{'); open >= 0 {
		if n := bytes.IndexByte(key[open+1:], '}'); n > 0 {
			key = key[open+1 : open+1+n]
		}
	}
	return crc16(key) % Slots
}
