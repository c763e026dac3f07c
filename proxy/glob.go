package proxy

// globMatch says whether s fits a pattern of MATCH or KEYS, as the servers see it: * stands for any bytes, ? for one,
// [a-c], [abc] and [^abc] for one of a class, and \ takes the next byte as it is. One oddity of theirs is kept: nothing
// but the pattern * itself fits the empty string.
func globMatch(pattern, s []byte) bool {
	if len(s) == 0 {
		return len(pattern) == 0 || len(pattern) == 1 && pattern[0] == '*'
	}
	// Every token but * takes exactly one byte, so on a mismatch only the last * has to try again, one byte longer.
	p, at := 0, 0
	star, retry := -1, 0
	for at < len(s) {
		if p < len(pattern) && pattern[p] == '*' {
			p++
			star, retry = p, at
			continue
		}
		if p < len(pattern) {
			if next, ok := globOne(pattern, p, s[at]); ok {
				p = next
				at++
				continue
			}
		}
		if star < 0 {
			return false
		}
		retry++
		p, at = star, retry
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// globOne compares one byte with the token at p, which is not *, and tells where the next token begins.
func globOne(pattern []byte, p int, c byte) (next int, ok bool) {
	switch pattern[p] {
	case '?':
		return p + 1, true
	case '[':
		return globClass(pattern, p+1, c)
	case '\\':
		if p+1 < len(pattern) {
			p++
		}
	}
	return p + 1, pattern[p] == c
}

// globClass compares one byte with the class that begins at p, behind its bracket. A class that is not closed ends with
// the pattern.
func globClass(pattern []byte, p int, c byte) (next int, ok bool) {
	not := p < len(pattern) && pattern[p] == '^'
	if not {
		p++
	}
	match := false
	for ; p < len(pattern) && pattern[p] != ']'; p++ {
		switch left := len(pattern) - p; {
		case pattern[p] == '\\' && left >= 2:
			p++
			match = match || pattern[p] == c
		case left >= 3 && pattern[p+1] == '-':
			first, last := int8(pattern[p]), int8(pattern[p+2]) // bytes are signed where the servers run
			if first > last {
				first, last = last, first
			}
			match = match || first <= int8(c) && int8(c) <= last
			p += 2
		default:
			match = match || pattern[p] == c
		}
	}
	return min(p+1, len(pattern)), match != not
}

// channelMatch is globMatch for PSUBSCRIBE: there not even * fits the empty name.
func channelMatch(pattern, channel []byte) bool {
	return (len(channel) > 0 || len(pattern) == 0) && globMatch(pattern, channel)
}

// mayMatch says whether a pattern can match a name that begins with prefix; in doubt it says yes.
func mayMatch(pattern, prefix []byte) bool {
	for _, c := range prefix {
		if len(pattern) == 0 {
			return false
		}
		if pattern[0] == '*' || pattern[0] == '[' {
			return true
		}
		next, ok := globOne(pattern, 0, c)
		if !ok {
			return false
		}
		pattern = pattern[next:]
	}
	return true
}
