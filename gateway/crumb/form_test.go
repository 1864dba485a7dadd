package crumb_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/crumbgate/crumbgate/gateway/crumb"
)

const (
	urlEncoded = "application/x-www-form-urlencoded"
	multiPart  = `multipart/form-data; boundary=XX`
)

var crumbFields = []string{"Jenkins-Crumb", ".crumb"}

// formData makes a multipart body with the boundary XX of whole parts.
func formData(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString("--XX\r\n" + p + "\r\n")
	}
	return b.String() + "--XX--\r\n"
}

func part(disposition, value string) string {
	return "Content-Disposition: " + disposition + "\r\n\r\n" + value
}

func TestFindInForm(t *testing.T) {
	const named = `form-data; name="Jenkins-Crumb"`
	ours := part(named, "v")
	kib := strings.Repeat("x", 1<<10)
	for _, c := range []struct {
		name, contentType, body string
		want                    string // "": not found, unless it is found to be empty
		found                   bool
		err                     error
	}{
		{"urlencoded", urlEncoded, "a=1&Jenkins-Crumb=v&b=2", "v", true, nil},
		{"alone", urlEncoded, "Jenkins-Crumb=v", "v", true, nil},
		{"old name", urlEncoded, ".crumb=v", "v", true, nil},
		{"first of two names", urlEncoded, ".crumb=v&Jenkins-Crumb=w", "v", true, nil},
		{"first of two values", urlEncoded, "Jenkins-Crumb=v&Jenkins-Crumb=w", "v", true, nil},
		{"charset", urlEncoded + "; charset=UTF-8", "Jenkins-Crumb=v", "v", true, nil},
		{"type in capitals", "Application/X-WWW-Form-URLEncoded", "Jenkins-Crumb=v", "v", true, nil},
		{"blank before the parameter", urlEncoded + " ;charset=UTF-8", "Jenkins-Crumb=v", "v", true, nil},
		{"escapes", urlEncoded, "Jenkins%2dCrumb=a+b%2Bc%26%3d%00", "a b+c&=\x00", true, nil},
		{"equals sign in the value", urlEncoded, "Jenkins-Crumb=a=b==", "a=b==", true, nil},
		{"semicolon is no separator", urlEncoded, "Jenkins-Crumb=a;b&c", "a;b", true, nil},
		{"pair after a semicolon", urlEncoded, "a=1;Jenkins-Crumb=v", "", false, nil},
		{"without value", urlEncoded, "a&Jenkins-Crumb&b", "", true, nil},
		{"empty value", urlEncoded, "Jenkins-Crumb=&b", "", true, nil},
		{"empty pairs", urlEncoded, "&&=&==&Jenkins-Crumb=v", "v", true, nil},
		{"longest value", urlEncoded, "Jenkins-Crumb=" + kib, kib, true, nil},
		{"longest value, escaped", urlEncoded, "Jenkins-Crumb=" + strings.Repeat("%78", 1<<10) + "&a=b", kib, true, nil},
		{"value too long", urlEncoded, "Jenkins-Crumb=" + kib + "x&a=b", "", false, crumb.ErrTooLong},
		{"value too long, escaped", urlEncoded, "Jenkins-Crumb=" + kib + "%78", "", false, crumb.ErrTooLong},
		{"long names and values of others", urlEncoded, kib + kib + "=" + kib + kib + "&" + kib + "x&Jenkins-Crumb=v", "v", true, nil},
		{"name that begins with 1 KiB of another", urlEncoded, strings.Repeat("a", 1<<10) + "Jenkins-Crumb=v", "", false, nil},
		{"broken escape in another value", urlEncoded, "a=%zz&Jenkins-Crumb=v", "v", true, nil},
		{"broken escape in another name", urlEncoded, "%=1&Jenkins-Crumb=v", "v", true, nil},
		{"broken escape before the separator", urlEncoded, "a=%4&Jenkins-Crumb=v", "v", true, nil},
		{"broken escape before the equals sign", urlEncoded, "Jenkins-Crumb%=w&Jenkins-Crumb=v", "v", true, nil},
		{"broken escape in the value", urlEncoded, "Jenkins-Crumb=%4g&Jenkins-Crumb=v", "v", true, nil},
		{"broken escape at the end", urlEncoded, "Jenkins-Crumb=v%7", "", false, nil},
		{"percent sign at the end", urlEncoded, "Jenkins-Crumb=v%", "", false, nil},
		{"broken escape in the name", urlEncoded, "Jenkins-Crumb%zz=v", "", false, nil},
		{"other case", urlEncoded, "jenkins-crumb=v", "", false, nil},
		{"longer name", urlEncoded, "Jenkins-Crumb2=v&xJenkins-Crumb=v", "", false, nil},
		{"blank in the name", urlEncoded, "Jenkins-Crumb+=v&+Jenkins-Crumb=v&\r\nJenkins-Crumb=v", "", false, nil},
		{"NUL after the name", urlEncoded, "Jenkins-Crumb%00=v", "", false, nil},
		{"name as a value", urlEncoded, "a=Jenkins-Crumb=v", "", false, nil},
		{"escaped separators", urlEncoded, "a=1%26Jenkins-Crumb%3Dv", "", false, nil},
		{"empty body", urlEncoded, "", "", false, nil},

		{"multipart", multiPart, formData(part(`form-data; name="a"`, "1"), ours), "v", true, nil},
		{"quoted boundary", `multipart/form-data; boundary="XX"`, formData(ours), "v", true, nil},
		{"second of two names", multiPart, formData(part(`form-data; name=".crumb"`, "v"), part(named, "w")), "v", true, nil},
		{"multipart, empty value", multiPart, formData(part(named, "")), "", true, nil},
		{"line breaks in the value", multiPart, formData(part(named, "\r\nv\r\n-")), "\r\nv\r\n-", true, nil},
		{"beginning of a boundary in the value", multiPart, formData(part(named, "v\r\n--XXY")), "v\r\n--XXY", true, nil},
		{"transfer encoding", multiPart, formData("Content-Transfer-Encoding: quoted-printable\r\n" + part(named, "=41")), "=41", true, nil},
		{"after a preamble", multiPart, "hello\r\n" + formData(ours), "v", true, nil},
		{"bare line feeds", multiPart, strings.ReplaceAll(formData(ours), "\r\n", "\n"), "v", true, nil},
		{"header in small letters", multiPart, formData("content-disposition:form-data;name=Jenkins-Crumb\r\nContent-Type: text/plain\r\n\r\nv"), "v", true, nil},
		{"multipart, longest value", multiPart, formData(part(named, kib)), kib, true, nil},
		{"multipart, value too long", multiPart, formData(part(named, kib+"x")), "", false, crumb.ErrTooLong},
		{"after a file", multiPart, formData(part(`form-data; name="f"; filename="a.bin"`, strings.Repeat(kib, 100)), ours), "v", true, nil},
		{"file of that name", multiPart, formData(part(named+`; filename="x"`, "v")), "", false, nil},
		{"file of that name, without a name of its own", multiPart, formData(part(named+`; filename=""`, "v")), "", false, nil},
		{"file of that name in RFC 2231", multiPart, formData(part(named+`; filename*=utf-8''x`, "v")), "", false, nil},
		{"file of that name, not decodable", multiPart, formData(part(named+`; filename*=zz''x`, "v")), "", false, nil},
		{"name in RFC 2231", multiPart, formData(part(`form-data; name*=utf-8''Jenkins-Crumb`, "v")), "", false, nil},
		{"two names", multiPart, formData(part(`form-data; name="a"; name="Jenkins-Crumb"`, "v")), "", false, nil},
		{"two dispositions", multiPart, formData("Content-Disposition: " + named + "\r\n" + part(`form-data; name="a"`, "v")), "", false, nil},
		{"other disposition", multiPart, formData(part(`attachment; name="Jenkins-Crumb"`, "v")), "", false, nil},
		{"no disposition", multiPart, formData("Content-Type: text/plain\r\n\r\nv"), "", false, nil},
		{"no header", multiPart, formData("\r\nJenkins-Crumb=v"), "", false, nil},
		{"multipart, other case", multiPart, formData(part(`form-data; name="jenkins-crumb"`, "v")), "", false, nil},
		{"nested", multiPart, formData("Content-Type: multipart/mixed; boundary=YY\r\n" + part(`form-data; name="a"`, "--YY\r\n"+ours+"\r\n--YY--")), "", false, nil},
		{"after the last boundary", multiPart, formData() + formData(ours), "", false, nil},
		{"no part", multiPart, formData(), "", false, nil},
		{"no line break at the end", multiPart, strings.TrimSuffix(formData(), "\r\n"), "", false, nil},
		{"cut short in the value", multiPart, "--XX\r\n" + part(named, "v"), "", false, crumb.ErrMalformed},
		{"cut short in the boundary", multiPart, "--XX\r\n" + part(named, "v\r\n--XX"), "", false, crumb.ErrMalformed},
		{"cut short after another part", multiPart, "--XX\r\n" + part(`form-data; name="a"`, "v"), "", false, crumb.ErrMalformed},
		{"no boundary in the body", multiPart, "Jenkins-Crumb=v", "", false, crumb.ErrMalformed},
		{"no multipart body", multiPart, "", "", false, crumb.ErrMalformed},
		{"no colon in a header", multiPart, formData("x\r\n" + ours), "", false, crumb.ErrMalformed},
		{"header too long", multiPart, formData("X: "+kib+kib+kib+kib+kib+"\r\n"+ours, ours), "", false, crumb.ErrTooLong},
		{"too many headers", multiPart, formData(strings.Repeat("a:\r\n", 2000) + ours), "", false, crumb.ErrTooLong},
		{"header too long in a later part", multiPart, formData(part("a", kib+kib), "X: "+kib+kib+kib+kib+kib+kib+"\r\n"+ours), "", false, crumb.ErrTooLong},
		{"preamble too long", multiPart, strings.Repeat("x\r\n", 2000) + formData(ours), "", false, crumb.ErrTooLong},
		{"most parts", multiPart, formData(append(strings.Split(strings.Repeat("a:\r\n\r\nv|", 999), "|")[:999], ours)...), "v", true, nil},
		{"too many parts", multiPart, formData(append(strings.Split(strings.Repeat("a:\r\n\r\nv|", 1000), "|")[:1000], ours)...), "", false, crumb.ErrTooMany},

		{"longest boundary", "multipart/form-data; boundary=" + strings.Repeat("b", 70), "--" + strings.Repeat("b", 70) + "--", "", false, nil},
		{"boundary too long", "multipart/form-data; boundary=" + strings.Repeat("b", 71), "--" + strings.Repeat("b", 71) + "--", "", false, crumb.ErrMalformed},
		{"no boundary", "multipart/form-data", formData(ours), "", false, crumb.ErrMalformed},
		{"empty boundary", `multipart/form-data; boundary=""`, formData(ours), "", false, crumb.ErrMalformed},
		{"boundary with a quote", `multipart/form-data; boundary="X\"X"`, formData(ours), "", false, crumb.ErrMalformed},
		{"boundary with a line break", "multipart/form-data; boundary=\"XX\r\n\"", formData(ours), "", false, crumb.ErrMalformed},
		{"boundary that ends with a blank", `multipart/form-data; boundary="XX "`, formData(ours), "", false, crumb.ErrMalformed},
		{"two boundaries", multiPart + "; boundary=YY", formData(ours), "", false, crumb.ErrMalformed},
		{"boundary twice", multiPart + "; boundary=XX", formData(ours), "", false, crumb.ErrMalformed},
		{"boundary twice, in capitals", multiPart + "; BOUNDARY=XX", formData(ours), "", false, crumb.ErrMalformed},
		{"boundary in pieces", "multipart/form-data; boundary*0=X; boundary*1=X", formData(ours), "", false, crumb.ErrMalformed},
		{"encoded boundary", "multipart/form-data; boundary*=utf-8''XX", formData(ours), "", false, crumb.ErrMalformed},
		{"parameter in a parameter", `multipart/form-data; a="; boundary=YY"; boundary=XX`, formData(ours), "", false, crumb.ErrMalformed},
		{"charset twice", urlEncoded + "; charset=utf-8; charset=utf-8", "Jenkins-Crumb=v", "", false, crumb.ErrMalformed},
		{"two types", urlEncoded + ", text/plain", "Jenkins-Crumb=v", "", false, nil},
		{"parameter without a value", urlEncoded + "; charset", "Jenkins-Crumb=v", "", false, crumb.ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			for how, body := range map[string]io.Reader{
				"at once":            strings.NewReader(c.body),
				"byte by byte":       iotest.OneByteReader(strings.NewReader(c.body)),
				"end with the bytes": iotest.DataErrReader(strings.NewReader(c.body)),
			} {
				got, found, err := crumb.FindInForm(c.contentType, body, 1<<20, crumbFields)
				if got != c.want || found != c.found || err != c.err {
					t.Errorf("%s: FindInForm(%q, %.200q) = %q, %t, %v, want %q, %t, %v", how, c.contentType, c.body, got, found, err, c.want, c.found, c.err)
				}
			}
		})
	}
}

// A counted reader counts what is read of an endless repetition.
type counted struct {
	head, again string
	n           int64
}

func (c *counted) Read(p []byte) (int, error) {
	for i := range p {
		if at := c.n; at < int64(len(c.head)) {
			p[i] = c.head[at]
		} else {
			p[i] = c.again[(at-int64(len(c.head)))%int64(len(c.again))]
		}
		c.n++
	}
	return len(p), nil
}

func TestFindInFormLeavesOtherBodies(t *testing.T) {
	for _, contentType := range []string{"", ";", "text/plain", "application/json", "multipart/mixed; boundary=XX", "multipart/form-data2; boundary=XX",
		"multipart", "application/x-www-form-urlencoded/x", "text/plain; a=application/x-www-form-urlencoded", "application/octet-stream; ; ;"} {
		body := &counted{again: "Jenkins-Crumb=v&"}
		if got, found, err := crumb.FindInForm(contentType, body, 1<<20, crumbFields); found || err != nil || body.n != 0 {
			t.Errorf("FindInForm(%q) = %q, %t, %v after %d bytes, want nothing without reading", contentType, got, found, err, body.n)
		}
	}
}

func TestFindInFormStops(t *testing.T) {
	field := "--XX\r\n" + part(`form-data; name="Jenkins-Crumb"`, "v\r\n--XX\r\n")
	for _, c := range []struct {
		name, contentType, head string
	}{
		{"urlencoded", urlEncoded, "a=1&Jenkins-Crumb=v&"},
		{"multipart", multiPart, field},
	} {
		body := &counted{head: c.head, again: "x"}
		got, found, err := crumb.FindInForm(c.contentType, body, 1<<30, crumbFields)
		if got != "v" || !found || err != nil || body.n > 8<<10 {
			t.Errorf("%s: FindInForm = %q, %t, %v after %d bytes, want v after at most 8 KiB", c.name, got, found, err, body.n)
		}
	}
}

func TestFindInFormLimit(t *testing.T) {
	const text = "a=1&Jenkins-Crumb=value"
	multi := formData(part(`form-data; name="a"`, "1"), part(`form-data; name="Jenkins-Crumb"`, "value"))
	valueEnd := int64(strings.Index(multi, "value") + len("value\r\n--XX--"))
	for _, c := range []struct {
		name, contentType, body string
		from                    int64 // the least limit at which it is found
	}{
		{"urlencoded, last", urlEncoded, text, int64(len(text)) + 1},
		{"urlencoded", urlEncoded, text + "&b=2", int64(len(text)) + 1},
		{"multipart", multiPart, multi, valueEnd},
	} {
		for limit := range int64(len(c.body)) + 2 {
			body := &byteCounter{Reader: strings.NewReader(c.body)}
			got, found, err := crumb.FindInForm(c.contentType, body, limit, crumbFields)
			switch {
			case body.n > limit:
				t.Errorf("%s, limit %d: %d bytes read", c.name, limit, body.n)
			case limit >= c.from && (got != "value" || !found || err != nil):
				t.Errorf("%s, limit %d: FindInForm = %q, %t, %v, want value", c.name, limit, got, found, err)
			case limit < c.from && (found || got != "" || err != crumb.ErrLimit):
				t.Errorf("%s, limit %d: FindInForm = %q, %t, %v, want %v", c.name, limit, got, found, err, crumb.ErrLimit)
			}
		}
	}
	for _, limit := range []int64{0, -1} {
		body := &counted{again: "x"}
		if _, found, err := crumb.FindInForm(urlEncoded, body, limit, crumbFields); found || err != crumb.ErrLimit || body.n != 0 {
			t.Errorf("limit %d: found %t, %v after %d bytes, want %v after none", limit, found, err, body.n, crumb.ErrLimit)
		}
	}
}

type byteCounter struct {
	io.Reader
	n int64
}

func (c *byteCounter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}

func TestFindInFormBodyFails(t *testing.T) {
	gone := errors.New("connection reset")
	for _, c := range []struct{ name, contentType, body string }{
		{"urlencoded, in the name", urlEncoded, "Jenkins-Cr"},
		{"urlencoded, in the value", urlEncoded, "Jenkins-Crumb=v"},
		{"urlencoded, in an escape", urlEncoded, "Jenkins-Crumb=v%"},
		{"urlencoded, in another value", urlEncoded, "a=1"},
		{"multipart, at once", multiPart, ""},
		{"multipart, in the header", multiPart, "--XX\r\nContent-Disp"},
		{"multipart, after the header", multiPart, "--XX\r\nContent-Disposition: form-data\r\n"},
		{"multipart, in the value", multiPart, "--XX\r\n" + part(`form-data; name="Jenkins-Crumb"`, "v")},
		{"multipart, in the boundary", multiPart, "--XX\r\n" + part(`form-data; name="Jenkins-Crumb"`, "v\r\n--XX")},
		{"multipart, in another value", multiPart, "--XX\r\n" + part(`form-data; name="a"`, "v")},
	} {
		for _, err := range []error{gone, io.ErrUnexpectedEOF, fmt.Errorf("reset: %w", io.EOF)} {
			body := io.MultiReader(strings.NewReader(c.body), iotest.ErrReader(err))
			if got, found, e := crumb.FindInForm(c.contentType, body, 1<<20, crumbFields); got != "" || found || e != err {
				t.Errorf("%s: FindInForm = %q, %t, %v, want %v", c.name, got, found, e, err)
			}
		}
	}
}

func TestErrorsShowNothingOfTheBody(t *testing.T) {
	for _, body := range []string{"--XX\r\npassword\r\n\r\n", "--XX\r\na:\r\n\r\nv\r\n--XX\r\n--XX--password\r\n", "--XX\r\n password"} {
		_, _, err := crumb.FindInForm(multiPart, strings.NewReader(body), 1<<20, crumbFields)
		if err == nil || strings.Contains(err.Error(), "password") {
			t.Errorf("FindInForm(%q): error %v, want one that shows nothing", body, err)
		}
	}
}

// However large the body, little is allocated altogether: nothing of it is kept.
func TestFindInFormMemory(t *testing.T) {
	const size = 2 << 20
	file := "--XX\r\n" + part(`form-data; name="f"; filename="a"`, "")
	for _, c := range []struct {
		name, contentType string
		body              counted
		most              uint64 // bytes
		err               error
	}{
		{"file", multiPart, counted{head: file, again: "x"}, 64 << 10, crumb.ErrLimit},
		{"file of line breaks", multiPart, counted{head: file, again: "\r\n--X"}, 64 << 10, crumb.ErrLimit},
		{"header", multiPart, counted{head: "--XX\r\nX:", again: "x"}, 64 << 10, crumb.ErrTooLong},
		{"continued header", multiPart, counted{head: "--XX\r\nX:", again: "\r\n x"}, 64 << 10, crumb.ErrTooLong},
		{"many headers", multiPart, counted{head: "--XX\r\n", again: "a:\r\n"}, 256 << 10, crumb.ErrTooLong},
		{"preamble", multiPart, counted{again: "x\r\n"}, 64 << 10, crumb.ErrTooLong},
		{"field", multiPart, counted{head: "--XX\r\n" + part(`form-data; name=".crumb"`, ""), again: "x"}, 64 << 10, crumb.ErrTooLong},
		{"value", urlEncoded, counted{head: "a=", again: "x"}, 64 << 10, crumb.ErrLimit},
		{"name", urlEncoded, counted{again: "x"}, 64 << 10, crumb.ErrLimit},
		{"pairs", urlEncoded, counted{again: "a=b&"}, 64 << 10, crumb.ErrLimit},
	} {
		t.Run(c.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, found, err := crumb.FindInForm(c.contentType, &c.body, size, crumbFields)
			runtime.ReadMemStats(&after)
			if found || err != c.err {
				t.Errorf("FindInForm = %t, %v, want %v", found, err, c.err)
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > c.most {
				t.Errorf("%d bytes allocated, want at most %d", got, c.most)
			}
		})
	}
}

// oracle finds the field as the standard library does, which keeps the whole body.
func oracle(t *testing.T, isMultipart bool, body string) (values []string, wellFormed bool) {
	t.Helper()
	if !isMultipart {
		// net/url refuses semicolons, which are ordinary characters here.
		for pair := range strings.SplitSeq(strings.ReplaceAll(body, ";", "%3B"), "&") {
			q, err := url.ParseQuery(pair)
			if err != nil {
				continue
			}
			for _, name := range crumbFields {
				values = append(values, q[name]...)
			}
		}
		return values, true
	}
	r := multipart.NewReader(strings.NewReader(body), "XX")
	for {
		p, err := r.NextRawPart()
		if err != nil {
			return values, err == io.EOF
		}
		value, err := io.ReadAll(p)
		if err != nil {
			return values, false
		}
		disposition := p.Header["Content-Disposition"]
		if len(disposition) == 1 && !strings.Contains(disposition[0], "*") && !strings.Contains(strings.ToLower(disposition[0]), "filename") {
			for _, name := range crumbFields {
				if p.FormName() == name {
					values = append(values, string(value))
				}
			}
		}
	}
}

func FuzzFindInForm(f *testing.F) {
	for _, seed := range []string{"", "a=1&Jenkins-Crumb=v", ".crumb=%41+b&%zz", "a;b=c&.crumb", "Jenkins-Crumb=%4&%2ecrumb=1"} {
		f.Add(false, seed)
	}
	for _, seed := range []string{
		formData(), formData(part(`form-data; name=".crumb"`, "v")),
		formData(part(`form-data; name="f"; filename="g"`, "x"), part(`form-data; name=Jenkins-Crumb`, "v\r\n--X")),
		"x\n--XX\na:b\n\n\n--XX--", "--XX\r\n" + part("form-data; name=.crumb", "v\r\n--XX"),
	} {
		f.Add(true, seed)
	}
	f.Fuzz(func(t *testing.T, isMultipart bool, body string) {
		contentType := urlEncoded
		if isMultipart {
			contentType = multiPart
		}
		got, found, err := crumb.FindInForm(contentType, strings.NewReader(body), 1<<20, crumbFields)
		result := fmt.Sprintf("%q, %t, %v", got, found, err)
		if !found && got != "" || found && err != nil {
			t.Fatalf("FindInForm = %s", result)
		}

		// It does not matter how the body comes.
		for _, r := range []io.Reader{iotest.OneByteReader(strings.NewReader(body)), iotest.DataErrReader(bytes.NewReader([]byte(body)))} {
			// The budget of a header counts what has been read ahead, too.
			if got, found, err := crumb.FindInForm(contentType, r, 1<<20, crumbFields); len(body) < 4<<10 && fmt.Sprintf("%q, %t, %v", got, found, err) != result {
				t.Fatalf("FindInForm of a slow body = %q, %t, %v, want %s", got, found, err, result)
			}
		}
		// Never is a value found that is cut short.
		for _, limit := range []int64{int64(len(body)) / 2, int64(len(body)) - 1} {
			if cut, ok, err := crumb.FindInForm(contentType, strings.NewReader(body), limit, crumbFields); ok && (!found || cut != got) || err == nil && ok != found {
				t.Fatalf("FindInForm with limit %d = %q, %t, %v, want %s", limit, cut, ok, err, result)
			}
		}

		if len(body) >= 1<<10 {
			return // the standard library has no such bounds
		}
		values, wellFormed := oracle(t, isMultipart, body)
		switch {
		case found && (len(values) == 0 || values[0] != got):
			t.Fatalf("FindInForm = %s, the standard library has %q", result, values)
		case !found && wellFormed && err == nil && len(values) > 0:
			t.Fatalf("FindInForm = %s, the standard library has %q", result, values)
		case err != nil && wellFormed && len(values) == 0:
			t.Fatalf("FindInForm = %s, the standard library reads it", result)
		}
	})
}
