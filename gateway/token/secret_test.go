package token_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/crumbgate/crumbgate/gateway/token"
)

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// valid is a secret that stays the same over all runs, so that failures do.
const valid = "cg_0123456789ABCDEFGHIJKLMNOPQRST0bea7H"

// wantChecksum computes the last 6 characters by another way than the package.
func wantChecksum(body string) string {
	sum := crc32.ChecksumIEEE([]byte(body))
	out := ""
	for range 6 {
		out = string(base62[sum%62]) + out
		sum /= 62
	}
	return out
}

func TestNewSecretShape(t *testing.T) {
	shapes := map[token.Format]*regexp.Regexp{
		token.Native:  regexp.MustCompile(`^cg_[0-9A-Za-z]{36}$`),
		token.Jenkins: regexp.MustCompile(`^11[0-9a-f]{32}$`),
	}
	for format, shape := range shapes {
		seen := make(map[string]bool)
		for range 1000 {
			secret := token.NewSecret(format)
			s := secret.Reveal()
			if !shape.MatchString(s) {
				t.Fatalf("NewSecret(%v) = %q, want %v", format, s, shape)
			}
			if format == token.Native && s[33:] != wantChecksum(s[:33]) {
				t.Fatalf("NewSecret(%v) = %q, want the checksum %q", format, s, wantChecksum(s[:33]))
			}
			if seen[s] {
				t.Fatalf("NewSecret(%v) = %q twice", format, s)
			}
			seen[s] = true
			if digest, err := token.Parse(s); err != nil || digest != secret.Digest() {
				t.Fatalf("Parse(%q) = %x, %v, want %x", s, digest, err, secret.Digest())
			}
		}
	}
}

// A wrong range or a modulo bias would favour some characters by a quarter or
// more; the bound is six standard deviations, which chance exceeds once in 10⁷ runs.
func TestNewSecretIsUniform(t *testing.T) {
	const secrets = 20_000
	for _, c := range []struct {
		format   token.Format
		from, to int
		alphabet string
	}{
		{token.Native, 3, 33, base62},
		{token.Jenkins, 2, 34, "0123456789abcdef"},
	} {
		var counts [256]float64
		for range secrets {
			for _, b := range []byte(token.NewSecret(c.format).Reveal()[c.from:c.to]) {
				counts[b]++
			}
		}
		n, p := float64(secrets*(c.to-c.from)), 1/float64(len(c.alphabet))
		for _, b := range []byte(c.alphabet) {
			if d := counts[b] - n*p; d*d > 36*n*p*(1-p) {
				t.Errorf("format %v: %q comes %v times of %v, expected %.0f", c.format, b, counts[b], n, n*p)
			}
		}
	}
}

// The values are published: by the pwn_jenkins notes with the hash that Jenkins
// stored, by Jenkins' own ApiTokenPropertyTest, and in the recorded answer of
// generateNewToken in cdancy/jenkins-rest.
func TestParseJenkinsVectors(t *testing.T) {
	for secret, stored := range map[string]string{
		"1147c3b70068c7b5573342ebb6ddc7f6ae": "ff550856862dbee0eb2534d03d4cd9b7a71b2ca35a53e1c1876b4eccfc1e627f",
		"110123456789abcdef0123456789abcdef": "3eb1bd439947eb762998e566ccc2e099c791118b2f40579cc4f7da2b5061b7f9",
		"112fe6e9b1b94eb1ee58f0ea4f5a1ac7bf": "d47e55f8837088c9af27b4772a2b2accbacfb514510997306d40bb654e95f9b7",
	} {
		digest, err := token.Parse(secret)
		if got := hex.EncodeToString(digest[:]); err != nil || got != stored {
			t.Errorf("Parse(%q) = %s, %v, want %s", secret, got, err, stored)
		}
	}
}

func TestParse(t *testing.T) {
	const jenkins = "110123456789abcdef0123456789abcdef"
	for _, c := range []struct {
		name, presented string
		want            error
	}{
		{"native", valid, nil},
		{"jenkins", jenkins, nil},
		{"empty", "", token.ErrShape},
		{"truncated", valid[:38], token.ErrShape},
		{"first character lost", valid[1:], token.ErrShape},
		{"extended", valid + "0", token.ErrShape},
		{"newline after it", valid + "\n", token.ErrShape},
		{"blank before it", " " + valid[:38], token.ErrShape},
		{"cut to the length of jenkins", valid[:34], token.ErrShape},
		{"prefix in upper case", "CG_" + valid[3:], token.ErrShape},
		{"prefix with a dash", "cg-" + valid[3:], token.ErrShape},
		{"case of one letter flipped", "cg_0123456789aBCDEFGHIJKLMNOPQRST" + valid[33:], token.ErrChecksum},
		{"all in lower case", strings.ToLower(valid), token.ErrChecksum},
		{"all in upper case", "cg_" + strings.ToUpper(valid[3:]), token.ErrChecksum},
		{"two characters swapped", "cg_1023456789ABCDEFGHIJKLMNOPQRST" + valid[33:], token.ErrChecksum},
		{"no checksum", "cg_0123456789ABCDEFGHIJKLMNOPQRST000000", token.ErrChecksum},
		{"Cyrillic А, as many characters", strings.Replace(valid, "A", "А", 1), token.ErrShape},
		{"Cyrillic А, as many bytes", strings.Replace(valid, "AB", "А", 1), token.ErrShape},
		{"fullwidth digit", strings.Replace(valid, "0", "０", 1), token.ErrShape},
		{"fullwidth digit, as many bytes", strings.Replace(valid, "012", "０", 1), token.ErrShape},
		{"NUL inside", "cg_\x00" + valid[4:], token.ErrShape},
		{"underscore inside", "cg__" + valid[4:], token.ErrShape},
		{"not UTF-8", "cg_\xff" + valid[4:], token.ErrShape},
		{"jenkins: one longer", jenkins + "0", token.ErrShape},
		{"jenkins: one shorter", jenkins[:33], token.ErrShape},
		{"jenkins: g for the last digit", jenkins[:33] + "g", token.ErrShape},
		{"jenkins: 12 for 11", "12" + jenkins[2:], token.ErrShape},
		{"jenkins: 21 for 11", "21" + jenkins[2:], token.ErrShape},
		{"jenkins: zz for 11", "zz" + jenkins[2:], token.ErrShape},
		{"jenkins: fullwidth 1, as many bytes", "１" + jenkins[3:], token.ErrShape},
		{"jenkins: upper-case hex", "11" + strings.ToUpper(jenkins[2:]), token.ErrShape},
		{"jenkins: the bare suffix, which Jenkins accepts", jenkins[2:], token.ErrShape},
		{"jenkins: a slash", jenkins[:33] + "/", token.ErrShape},
		{"jenkins: a colon", jenkins[:33] + ":", token.ErrShape},
		{"jenkins: a backtick", jenkins[:33] + "`", token.ErrShape},
		{"jenkins: not UTF-8", jenkins[:33] + "\xe6", token.ErrShape},
		{"the digest itself", "3eb1bd439947eb762998e566ccc2e099c791118b2f40579cc4f7da2b5061b7f9", token.ErrShape},
		{"64 KiB", strings.Repeat("cg_", 64<<10/3), token.ErrShape},
	} {
		t.Run(c.name, func(t *testing.T) {
			digest, err := token.Parse(c.presented)
			if !errors.Is(err, c.want) {
				t.Errorf("Parse(%q) = %v, want %v", c.presented, err, c.want)
			}
			if (err == nil) == (digest == token.Digest{}) {
				t.Errorf("Parse(%q) = %x with error %v", c.presented, digest, err)
			}
			bytesDigest, bytesErr := token.Parse([]byte(c.presented))
			if bytesDigest != digest || bytesErr != err {
				t.Errorf("Parse(bytes of %q) = %x, %v, of the string %x, %v", c.presented, bytesDigest, bytesErr, digest, err)
			}
		})
	}
}

// CRC-32 finds every change of one byte.
func TestParseFindsEverySubstitution(t *testing.T) {
	for i := range valid {
		for b := range 256 {
			if byte(b) == valid[i] {
				continue
			}
			changed := []byte(valid)
			changed[i] = byte(b)
			if digest, err := token.Parse(changed); err == nil {
				t.Errorf("Parse(%q) = %x, want an error: byte %d was %q", changed, digest, i, valid[i])
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	shape := regexp.MustCompile(`^(cg_[0-9A-Za-z]{36}|11[0-9a-f]{32})$`)
	for _, seed := range []string{valid, "110123456789abcdef0123456789abcdef", "", valid[:38], valid + "0", "zz0123456789abcdef0123456789abcdef", "cg_" + strings.Repeat("\xff", 36)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		digest, err := token.Parse(s)
		again, againErr := token.Parse([]byte(s))
		if digest != again || err != againErr {
			t.Errorf("Parse(%q) = %x, %v, and as bytes %x, %v", s, digest, err, again, againErr)
		}
		wanted := shape.MatchString(s) && (s[0] == '1' || s[33:] == wantChecksum(s[:33]))
		if (err == nil) != wanted {
			t.Errorf("Parse(%q) = %v, accepted should be %t", s, err, wanted)
		}
	})
}

func TestParseFormat(t *testing.T) {
	for _, c := range []struct {
		name string
		want token.Format
		ok   bool
	}{
		{"", token.Native, true},
		{"native", token.Native, true},
		{"jenkins", token.Jenkins, true},
		{"Jenkins", 0, false},
		{"legacy", 0, false},
	} {
		got, err := token.ParseFormat(c.name)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("ParseFormat(%q) = %v, %v, want %v, ok %t", c.name, got, err, c.want, c.ok)
		}
	}
}

func TestSecretDoesNotShow(t *testing.T) {
	type exported struct{ Secret token.Secret }
	type unexported struct{ secret token.Secret }
	secret := token.NewSecret(token.Native)

	zapped := func(core func(zapcore.EncoderConfig) zapcore.Encoder, log func(*zap.Logger)) string {
		var out bytes.Buffer
		logger := zap.New(zapcore.NewCore(core(zap.NewDevelopmentEncoderConfig()), zapcore.AddSync(&out), zap.DebugLevel))
		log(logger)
		return out.String()
	}
	slogged := func(handler func(*bytes.Buffer) slog.Handler) string {
		var out bytes.Buffer
		log := slog.New(handler(&out)).With("with", secret)
		log.Info("m", "secret", secret, "pointer", &secret, "exported", exported{secret}, "unexported", unexported{secret},
			"slice", []token.Secret{secret}, slog.Group("group", "secret", secret))
		return out.String()
	}
	encoded := func(marshal func(any) ([]byte, error), v any) string {
		b, err := marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}

	// What says REDACTED; the others, such as a private field, show an address.
	redacting := map[string]string{
		"String":              secret.String(),
		"Sprint":              fmt.Sprint(secret),
		"Sprint of a pointer": fmt.Sprint(&secret),
		"Sprint of a struct":  fmt.Sprint(exported{secret}),
		"Sprint of a slice":   fmt.Sprint([]token.Secret{secret}),
		"Sprint of a map":     fmt.Sprint(map[token.Secret]token.Secret{secret: secret}),
		"error":               fmt.Errorf("a: %w", fmt.Errorf("b %v", secret)).Error(),
		"JSON":                encoded(json.Marshal, secret),
		"JSON of a struct":    encoded(json.Marshal, exported{secret}),
		"JSON of a map":       encoded(json.Marshal, map[token.Secret]string{secret: "v"}),
		"XML":                 encoded(xml.Marshal, exported{secret}),
		"TextMarshaler":       encoded(func(any) ([]byte, error) { return secret.MarshalText() }, nil),
		"slog text":           slogged(func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) }),
		"slog JSON":           slogged(func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) }),
		"slog value":          slog.AnyValue(secret).Resolve().String(),
		"Sprintln":            fmt.Sprintln("token", secret),
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%c", "%40s", "%z"} {
		redacting["verb "+verb] = fmt.Sprintf(verb, secret)
		redacting["verb "+verb+" in a struct"] = fmt.Sprintf(verb, exported{secret})
	}
	for name, core := range map[string]func(zapcore.EncoderConfig) zapcore.Encoder{"console": zapcore.NewConsoleEncoder, "JSON": zapcore.NewJSONEncoder} {
		for how, log := range map[string]func(*zap.Logger){
			"Any":            func(l *zap.Logger) { l.Info("m", zap.Any("k", secret)) },
			"Any of pointer": func(l *zap.Logger) { l.Info("m", zap.Any("k", &secret)) },
			"Any of struct":  func(l *zap.Logger) { l.Info("m", zap.Any("k", exported{secret})) },
			"Stringer":       func(l *zap.Logger) { l.Info("m", zap.Stringer("k", secret)) },
			"Reflect":        func(l *zap.Logger) { l.Info("m", zap.Reflect("k", secret)) },
			"Infow":          func(l *zap.Logger) { l.Sugar().Infow("m", "k", secret) },
			"Infof":          func(l *zap.Logger) { l.Sugar().Infof("m %v", secret) },
			"Info":           func(l *zap.Logger) { l.Sugar().Info("m", secret) },
			"With":           func(l *zap.Logger) { l.With(zap.Any("k", secret)).Info("m") },
		} {
			redacting["zap "+name+" "+how] = zapped(core, log)
		}
	}
	for name, out := range redacting {
		if !strings.Contains(out, "REDACTED") {
			t.Errorf("%s: %q, want REDACTED", name, out)
		}
	}

	shown := redacting
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%p"} {
		shown["verb "+verb+" of a private field"] = fmt.Sprintf(verb, unexported{secret})
		shown["verb "+verb+" of a pointer to a private field"] = fmt.Sprintf(verb, &unexported{secret})
		shown["verb "+verb+" of private fields in a slice"] = fmt.Sprintf(verb, []unexported{{secret}})
	}
	shown["verb %p"] = fmt.Sprintf("%p", secret)
	shown["verb %T"] = fmt.Sprintf("%T", secret)
	hexed := hex.EncodeToString([]byte(secret.Reveal()))
	for name, out := range shown {
		for _, part := range []string{secret.Reveal()[3:12], hexed[:16], strings.ToUpper(hexed[:16])} {
			if strings.Contains(out, part) {
				t.Errorf("%s shows the secret: %q", name, out)
			}
		}
	}
}

func TestZeroSecretIsEmpty(t *testing.T) {
	if s := (token.Secret{}).Reveal(); s != "" {
		t.Errorf("Reveal of the zero Secret = %q, want nothing", s)
	}
}

func TestContainsSecret(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       bool
	}{
		{"alone", valid, true},
		{"in a sentence", "use " + valid + " for ci", true},
		{"in a query", "/job/a/build?token=" + valid + "&x=1", true},
		{"more letters after it", valid + "abc", true},
		{"letters before it", "abc" + valid, true},
		{"after a prefix of another", "cg_cg_" + valid, true},
		{"after one with a wrong checksum", valid[:38] + "0 " + valid, true},
		{"overlapping a false start", "cg_0123" + valid, true},
		{"nothing", "", false},
		{"the prefix alone", "cg_", false},
		{"many prefixes", strings.Repeat("cg_", 1000), false},
		{"wrong checksum", valid[:38] + "0", false},
		{"one short", valid[:38], false},
		{"split by a blank", valid[:20] + " " + valid[20:], false},
		{"the shape of a jenkins token, of which nobody can be sure", "110123456789abcdef0123456789abcdef", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := token.ContainsSecret(c.text); got != c.want {
				t.Errorf("ContainsSecret(%q) = %t, want %t", c.text, got, c.want)
			}
		})
	}
}
