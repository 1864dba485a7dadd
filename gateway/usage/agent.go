package usage

import "strings"

// maxFamily bounds, in bytes, what is kept of a User-Agent.
const maxFamily = 32

// Family returns the name of the first product in a User-Agent (RFC 9110, section
// 10.1.5): "curl", "python-requests", "okhttp"; "browser" for all that call
// themselves Mozilla; "" for what names no product. Versions change too often to
// be worth keeping.
func Family(userAgent string) string {
	end := strings.IndexFunc(userAgent, func(r rune) bool { return !isToken(r) })
	if end < 0 {
		end = len(userAgent)
	}
	family := userAgent[:min(end, maxFamily)]
	if family == "Mozilla" {
		return "browser"
	}
	return family
}

// isToken tells whether a character can stand in the name of a product, of those
// that no log or page can trip over.
func isToken(r rune) bool {
	return '0' <= r && r <= '9' || 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z' || r == '-' || r == '_' || r == '.' || r == '+'
}
