// Package strictcbor reads CBOR (RFC 8949) as this project has written it, and nothing
// else.
package strictcbor

import "github.com/fxamacker/cbor/v2"

// Decoding takes no key twice, no field that is not known, no tag, no length that
// comes at the end, and no nesting that our records don't have: what has them was
// damaged, or is of a newer version.
var Decoding = func() cbor.DecMode {
	mode, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		MaxNestedLevels:   4,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return mode
}()
