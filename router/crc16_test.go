package router

import (
	"bytes"
	"testing"
)

func TestSlotOfKnownKeys(t *testing.T) {
	// From the cluster specification and from CLUSTER KEYSLOT of a real server.
	tests := []struct {
		key  string
		want uint16
	}{
		{"", 0},
		{"123456789", 0x31C3},
		{"foo", 12182},
		{"bar", 5061},
		{"hello", 866},
		{"{user1000}.following", 3443},
		{"{user1000}.followers", 3443},
		{"user1000", 3443},
	}
	for _, tt := range tests {
		if got := Slot([]byte(tt.key)); got != tt.want {
			t.Errorf("Slot(%q) = %d, want %d", tt.key, got, tt.want)
		}
	}
}

func TestHashTagIsTheFirstNonEmptyPartInBraces(t *testing.T) {
	tests := []struct{ key, hashed string }{
		{"{a}b", "a"},
		{"x{a}{b}", "a"},
		{"foo{{bar}}zap", "{bar"},
		{"foo{bar", "foo{bar"},
		{"foo}bar{", "foo}bar{"},
		{"foo}{bar}", "bar"},
		{"foo{}{bar}", "foo{}{bar}"}, // the first braces are empty: the whole key counts
		{"{}", "{}"},
	}
	for _, tt := range tests {
		if got, want := Slot([]byte(tt.key)), crc16Bitwise([]byte(tt.hashed))%Slots; got != want {
			t.Errorf("Slot(%q) = %d, want %d, the slot of %q", tt.key, got, want, tt.hashed)
		}
	}
}

func TestCRCIsTheSameForEveryLengthAsBitByBit(t *testing.T) {
	key := []byte("\x00\xff0123456789 abcdefghijklmnopqrstuvwxyz\r\n\x80\x7f")
	for n := range len(key) + 1 {
		if got, want := crc16(key[:n]), crc16Bitwise(key[:n]); got != want {
			t.Errorf("crc16 of %d bytes = %#x, want %#x", n, got, want)
		}
	}
}

// crc16Bitwise is the definition of the checksum, too slow for use.
func crc16Bitwise(b []byte) uint16 {
	var crc uint16
	for _, c := range b {
		crc ^= uint16(c) << 8
		for range 8 {
			carry := crc&0x8000 != 0
			crc <<= 1
			if carry {
				crc ^= 0x1021
			}
		}
	}
	return crc
}

var sinkSlot uint16

func BenchmarkSlot(b *testing.B) {
	// 16 bytes is what valkey-benchmark sends; 64 a long composed key.
	for _, n := range []int{16, 64} {
		b.Run(string(rune('0'+n/16))+"x16", func(b *testing.B) {
			key := bytes.Repeat([]byte("key:000000012345"), n/16)
			b.ReportAllocs()
			for b.Loop() {
				sinkSlot = Slot(key)
			}
		})
	}
}

// BenchmarkSlotByteByByte keeps the rejected variant: the usual one table.
func BenchmarkSlotByteByByte(b *testing.B) {
	key := []byte("key:000000012345")
	t := crcTables
	b.ReportAllocs()
	for b.Loop() {
		var crc uint16
		for _, c := range key {
			crc = crc<<8 ^ t[0][c^byte(crc>>8)]
		}
		sinkSlot = crc % Slots
	}
}
