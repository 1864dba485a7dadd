package caddymodule

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/logging"
	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"
	"golang.org/x/term"

	"github.com/crumbgate/crumbgate/gateway"
)

func init() {
	caddy.RegisterModule(new(RedactEncoder))
}

// RedactEncoder is a log format that hides what Caddy's own formats would show of
// Jenkins' and the gateway's secrets: tokens anywhere in a line, however they are
// escaped; crumbs, trigger tokens, agent secrets and session cookies in any header or
// parameter; and users and passwords in URLs. It knows the token_header and crumb_field of
// each running gateway. It encodes with another format, and looks at the finished line.
type RedactEncoder struct {
	// The format that encodes. Default: json, or console on a terminal.
	WrappedRaw json.RawMessage `json:"wrap,omitempty" caddy:"namespace=caddy.logging.encoders inline_key=format"`
	// Further headers and parameters to hide.
	Hide []string `json:"hide,omitempty"`

	zapcore.Encoder `json:"-"`
	redact          *gateway.Redactor
	ctx             caddy.Context
}

// CaddyModule returns the Caddy module information.
func (*RedactEncoder) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.logging.encoders.crumbgate", New: func() caddy.Module { return new(RedactEncoder) }}
}

// Provision sets up the wrapped encoder.
func (e *RedactEncoder) Provision(ctx caddy.Context) error {
	e.ctx = ctx
	var err error
	if e.redact, err = gateway.NewRedactor(e.Hide); err != nil {
		return err
	}
	e.redact.Secrets = runningSecrets.current.Load
	if e.WrappedRaw == nil {
		encoder := new(logging.JSONEncoder)
		if err := encoder.Provision(ctx); err != nil {
			return err
		}
		e.Encoder = encoder
	} else {
		module, err := ctx.LoadModule(e, "WrappedRaw")
		if err != nil {
			return fmt.Errorf("loading the log format to wrap: %w", err)
		}
		e.Encoder = module.(zapcore.Encoder)
	}
	return nil
}

// AddReflected implements zapcore.ObjectEncoder. It answers the gate's question whether a
// log hides secrets.
func (e *RedactEncoder) AddReflected(key string, value any) error {
	if probe, ok := value.(*logProbe); ok {
		probe.hidden = true
		return nil
	}
	return e.Encoder.AddReflected(key, value)
}

// ConfigureDefaultFormat implements caddy.ConfiguresFormatterDefault.
func (e *RedactEncoder) ConfigureDefaultFormat(wo caddy.WriterOpener) error {
	if e.WrappedRaw != nil {
		if nested, ok := e.Encoder.(caddy.ConfiguresFormatterDefault); ok {
			return nested.ConfigureDefaultFormat(wo)
		}
		return nil
	}
	if !caddy.IsWriterStandardStream(wo) || !term.IsTerminal(int(os.Stderr.Fd())) {
		return nil
	}
	encoder := new(logging.ConsoleEncoder)
	e.Encoder = encoder
	return encoder.Provision(e.ctx)
}

// Clone implements zapcore.Encoder.
func (e *RedactEncoder) Clone() zapcore.Encoder {
	return &RedactEncoder{Encoder: e.Encoder.Clone(), redact: e.redact}
}

// EncodeEntry implements zapcore.Encoder.
func (e *RedactEncoder) EncodeEntry(entry zapcore.Entry, fields []zapcore.Field) (*buffer.Buffer, error) {
	line, err := e.Encoder.EncodeEntry(entry, fields)
	if err != nil {
		return nil, err
	}
	if redacted, changed := e.redact.Line(line.Bytes()); changed {
		line.Reset()
		line.AppendBytes(redacted)
	}
	return line, nil
}

// UnmarshalCaddyfile sets up the encoder from Caddyfile tokens:
//
//	format crumbgate {
//		wrap <format> …
//		hide <names...>
//	}
func (e *RedactEncoder) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // crumbgate
	if d.NextArg() {
		return d.ArgErr()
	}
	for d.NextBlock(d.Nesting()) {
		switch d.Val() {
		case "wrap":
			if e.WrappedRaw != nil {
				return d.Err("wrap is set twice")
			}
			if !d.NextArg() {
				return d.ArgErr()
			}
			name := d.Val()
			module, err := caddyfile.UnmarshalModule(d, "caddy.logging.encoders."+name)
			if err != nil {
				return err
			}
			e.WrappedRaw = caddyconfig.JSONModuleObject(module, "format", name, nil)
		case "hide":
			names := d.RemainingArgs()
			if len(names) == 0 {
				return d.ArgErr()
			}
			e.Hide = append(e.Hide, names...)
			if _, err := gateway.NewRedactor(e.Hide); err != nil {
				return d.WrapErr(err)
			}
		default:
			return d.Errf("unknown option %q of format crumbgate", d.Val())
		}
	}
	return nil
}

// Interface guards
var (
	_ zapcore.Encoder                  = (*RedactEncoder)(nil)
	_ caddy.Provisioner                = (*RedactEncoder)(nil)
	_ caddy.ConfiguresFormatterDefault = (*RedactEncoder)(nil)
	_ caddyfile.Unmarshaler            = (*RedactEncoder)(nil)
)
