package storm

import (
	"strconv"
	"sync"
)

const slots = 16384

// crcTable is CRC16-XMODEM (polynomial 0x1021), the hash of the cluster specification; written here a second time so that the
// storm does not trust the router it tests.
var crcTable = func() (t [256]uint16) {
	for i := range t {
		crc := uint16(i) << 8
		for range 8 {
			carry := crc&0x8000 != 0
			crc <<= 1
			if carry {
				crc ^= 0x1021
			}
		}
		t[i] = crc
	}
	return t
}()

// Slot is the slot of a key without a hash tag.
func Slot(key string) uint16 {
	var crc uint16
	for i := range len(key) {
		crc = crc<<8 ^ crcTable[byte(crc>>8)^key[i]]
	}
	return crc % slots
}

// tags finds, once, a short hash tag for every slot.
var tags = sync.OnceValue(func() []string {
	t := make([]string, slots)
	for i, left := 0, slots; left > 0; i++ {
		s := strconv.FormatInt(int64(i), 36)
		if slot := Slot(s); t[slot] == "" {
			t[slot] = s
			left--
		}
	}
	return t
})

// Tag is a hash tag, without its braces, that lies in slot.
func Tag(slot uint16) string { return tags()[slot] }
