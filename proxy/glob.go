package proxy

// globMatch says whether a name matches a pattern as servers understand it: * ? [a-z] [^x] \x. It takes at most the
// product of the lengths, whatever the pattern.
func globMatch(pattern, name []byte) bool {
	if len(name) == 0 {
		return len(pattern) == 0 // the servers do not try, so not even * matches
	}
	p, n := 0, 0
	star, from := -1, 0 // behind the last *: the place in the pattern, and in the name from which it was tried
	for n < len(name) {
		if p < len(pattern) && pattern[p] == '*' {
			p++
			star, from = p, n
			continue
		}
		if p < len(pattern) {
			if width, ok := globOne(pattern[p:], name[n]); ok {
				p += width
				n++
				continue
			}
		}
		if star < 0 {
			return false
		}
		from++
		p, n = star, from
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// globOne matches one byte with the front of a pattern, which is not empty and no *.
func globOne(pattern []byte, c byte) (width int, ok bool) {
	switch {
	case pattern[0] == '?':
		return 1, true
	case pattern[0] == '[':
		return globClass(pattern, c)
	case pattern[0] == '\\' && len(pattern) > 1:
		return 2, pattern[1] == c
	}
	return 1, pattern[0] == c
}

// globClass matches one byte with [...]; one without an end ends with the pattern.
func globClass(pattern []byte, c byte) (width int, ok bool) {
	i := 1
	not := i < len(pattern) && pattern[i] == '^'
	if not {
		i++
	}
	for ; i < len(pattern) && pattern[i] != ']'; i++ {
		switch left := len(pattern) - i; {
		case left >= 2 && pattern[i] == '\\':
			i++
			ok = ok || pattern[i] == c
		case left >= 3 && pattern[i+1] == '-':
			low, high := min(pattern[i], pattern[i+2]), max(pattern[i], pattern[i+2])
			i += 2
			ok = ok || low <= c && c <= high
		default:
			ok = ok || pattern[i] == c
		}
	}
	return min(i+1, len(pattern)), ok != not
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
		width, ok := globOne(pattern, c)
		if !ok {
			return false
		}
		pattern = pattern[width:]
	}
	return true
}
