package checkpoint

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"kdistill/internal/kernel"
	"kdistill/internal/model"
	"kdistill/internal/safetensors"
)

// Tensors is a set of named tensors: a Folder, or one safetensors file.
type Tensors interface {
	Names() []string
	Tensor(name string) (safetensors.Tensor, bool)
}

// match finds the tensor of every parameter, under any name that it has in published folders, and refuses what is missing, misshapen or left over.
// Those that may be missing have no data where they are.
func match(t Tensors, info model.Info, specs []model.Spec, optional []string) ([]safetensors.Tensor, error) {
	var found []safetensors.Tensor
	used := map[string]bool{}
	var missing []string
	for _, spec := range specs {
		x, ok := find(t, info, spec.Name)
		if !ok {
			if !slices.Contains(optional, spec.Name) {
				missing = append(missing, spec.Name)
			}
			found = append(found, safetensors.Tensor{})
			continue
		}
		if !slices.Equal(x.Shape, spec.Shape) {
			return nil, fmt.Errorf("%s: have shape %v, want %v by config.json", x.Name, x.Shape, spec.Shape)
		}
		used[x.Name] = true
		found = append(found, x)
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("%d of %d tensors of %s are missing: %s", len(missing), len(specs), info.Class, some(missing))
	}
	var extra []string
	for _, name := range t.Names() {
		if used[name] || harmless(name, info) {
			continue
		}
		if of := info.Copies[name]; of != "" {
			if same(t, name, of, info) {
				continue
			}
			return nil, fmt.Errorf("%s differs from %s, but config.json ties them (tie_word_embeddings): set it to false to keep both", name, of)
		}
		extra = append(extra, name)
	}
	if len(extra) > 0 {
		return nil, fmt.Errorf("%d tensors that a %s model doesn't have: %s", len(extra), info.Type, some(extra))
	}
	return found, nil
}

// find looks a parameter up: with or without the base model's prefix, as the first BERT files spell norms, or as a copy.
func find(t Tensors, info model.Info, name string) (safetensors.Tensor, bool) {
	names := []string{name}
	for copied, of := range info.Copies {
		if of == name {
			names = append(names, copied)
		}
	}
	old := strings.NewReplacer("LayerNorm.weight", "LayerNorm.gamma", "LayerNorm.bias", "LayerNorm.beta")
	for _, n := range names {
		for _, spelled := range []string{n, strings.TrimPrefix(n, info.Base), old.Replace(n), old.Replace(strings.TrimPrefix(n, info.Base))} {
			if x, ok := t.Tensor(spelled); ok {
				return x, true
			}
		}
	}
	return safetensors.Tensor{}, false
}

// harmless says whether a tensor is a buffer that old checkpoints carry and that a model computes by itself, or belongs to another task.
func harmless(name string, info model.Info) bool {
	for _, suffix := range []string{"rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias", "position_ids"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	for _, prefix := range info.Unused {
		if strings.HasPrefix(name, prefix) || strings.HasPrefix(info.Base+name, prefix) {
			return true
		}
	}
	return false
}

func same(t Tensors, copied, of string, info model.Info) bool {
	a, _ := t.Tensor(copied)
	b, _ := find(t, info, of)
	return a.DType == b.DType && slices.Equal(a.Shape, b.Shape) && bytes.Equal(a.Data, b.Data)
}

func some(names []string) string {
	const few = 4
	if len(names) > few {
		return strings.Join(names[:few], ", ") + fmt.Sprintf(" and %d more", len(names)-few)
	}
	return strings.Join(names, ", ")
}

// ReadStudent reads a model's weights into float32 parameters that can be trained. The checkpoint may lack the tensors of the task head: what is not
// there of it is drawn by the seed, and named in fresh.
func ReadStudent(t Tensors, m model.Model, seed uint64) (flat *model.Flat[float32], fresh []string, err error) {
	specs, err := model.Parameters(m)
	if err != nil {
		return nil, nil, err
	}
	i := -1
	err = read(t, m, m.Info().HeadTensors, func(spec model.Spec, x safetensors.Tensor) error {
		if i++; i == 0 { // not before the files are known to hold as much as config.json tells
			flat = model.NewFlat[float32](specs)
		}
		if x.Data == nil {
			flat.InitialiseOne(i, seed)
			fresh = append(fresh, spec.Name)
			return nil
		}
		return x.Float32s(flat.View(i))
	})
	return flat, fresh, err
}

// Read hands the tensor of each of a model's parameters to put, in the order of model.Parameters.
func Read(t Tensors, m model.Model, put func(spec model.Spec, x safetensors.Tensor) error) error {
	return read(t, m, nil, put)
}

// read is Read where optional tensors may be missing: put gets them without Data.
func read(t Tensors, m model.Model, optional []string, put func(spec model.Spec, x safetensors.Tensor) error) error {
	specs, err := model.Parameters(m)
	if err != nil {
		return err
	}
	found, err := match(t, m.Info(), specs, optional)
	if err != nil {
		return err
	}
	for i, spec := range specs {
		if err := put(spec, found[i]); err != nil {
			return err
		}
	}
	return nil
}

// Storage of a frozen model's weights.
const (
	Auto     = "auto" // as stored: bfloat16 stays, everything else becomes float32
	Float32  = "float32"
	BFloat16 = "bfloat16"
)

// ReadFrozen reads a model's weights for use without gradients. Norms and biases are float32 always. What the file stores as it is wanted stays in
// the file's mapping, which cannot be written to, so t must stay open as long as the weights are used.
func ReadFrozen(t Tensors, m model.Model, storage string) (*model.Store, error) {
	specs, err := model.Parameters(m)
	if err != nil {
		return nil, err
	}
	found, err := match(t, m.Info(), specs, nil)
	if err != nil {
		return nil, err
	}
	i := -1
	store, err := model.NewFrozen(specs, func(spec model.Spec) (any, error) {
		i++
		x := found[i]
		half := storage == BFloat16 || storage == Auto && x.DType == safetensors.BF16
		if half && len(spec.Shape) > 1 && x.DType == safetensors.BF16 {
			return x.Uint16s()
		}
		values, err := x.FrozenFloat32s()
		if err != nil || !half || len(spec.Shape) == 1 {
			return values, err
		}
		bits := make([]uint16, len(values))
		for j, v := range values {
			bits[j] = kernel.BF16(v)
		}
		return bits, nil
	})
	if err != nil {
		return nil, err
	}
	for i, spec := range specs {
		p := store.Get(spec.Name)
		p.InFile = p.Value.Uintptr() == uintptr(unsafe.Pointer(unsafe.SliceData(found[i].Data)))
	}
	return store, nil
}
