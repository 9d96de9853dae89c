package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

// genericClass is what transformers makes of a SentencePiece model where no class of tokenizers is known.
const genericClass = "TokenizersBackend"

// classes are transformers' tokenizer classes that can be made of other files than tokenizer.json, as release 5 of
// transformers makes them.
var classes = map[string]func(*converter) (*document, error){
	genericClass:          (*converter).generic,
	"LlamaTokenizer":      (*converter).llama,
	"GemmaTokenizer":      (*converter).gemma,
	"T5Tokenizer":         (*converter).t5,
	"GPT2Tokenizer":       (*converter).gpt2,
	"RobertaTokenizer":    (*converter).roberta,
	"Qwen2Tokenizer":      (*converter).qwen2,
	"BertTokenizer":       (*converter).bert,
	"DistilBertTokenizer": (*converter).bert,
}

// modelClasses are the classes that transformers takes for a model_type of config.json; the generic one overrides what
// a folder names.
var modelClasses = map[string]string{
	"bert": "BertTokenizer", "distilbert": "BertTokenizer", "roberta": "RobertaTokenizer",
	"gpt2": "GPT2Tokenizer", "opt": "GPT2Tokenizer",
	"gemma": "GemmaTokenizer", "gemma2": "GemmaTokenizer", "gemma3": "GemmaTokenizer", "gemma3_text": "GemmaTokenizer",
	"qwen2": "Qwen2Tokenizer", "qwen2_moe": "Qwen2Tokenizer", "qwen3": "Qwen2Tokenizer", "qwen3_moe": "Qwen2Tokenizer",
	"t5": "T5Tokenizer", "mt5": "T5Tokenizer", "gpt_neox": "GPTNeoXTokenizer", "olmo": "GPTNeoXTokenizer",
	"mistral": genericClass, "mixtral": genericClass, "olmo2": genericClass, "phi3": genericClass, "granite": genericClass,
	"stablelm": genericClass,
}

// converter makes a tokenizer of the files of a folder.
type converter struct {
	folder   fs.FS
	class    string
	config   config
	defaults map[string]string // special tokens that no file needs to name
	before   []string          // keys of the special tokens that are put around a text
	after    []string
	pair     func(start, end []int32) *Pair // of before and after; nil: none
	notes    []string
	err      error // of reading the settings
}

// convertFolder makes a tokenizer of a folder without a tokenizer.json.
func convertFolder(folder fs.FS, c config) (*Tokenizer, error) {
	name, err := folderClass(folder, c)
	if err != nil {
		return nil, err
	}
	convert := classes[name]
	if convert == nil {
		return nil, fmt.Errorf("without a tokenizer.json the tokenizer class %q is not supported, only %s; let transformers write one:\n  python -c %s FOLDER",
			name, strings.Join(slices.Sorted(maps.Keys(classes)), ", "),
			`"import sys; from transformers import AutoTokenizer as T; T.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[1])"`)
	}
	v := &converter{folder: folder, class: name, config: c}
	d, err := convert(v)
	if err := errors.Join(err, v.err); err != nil {
		return nil, err
	}
	t, err := d.build()
	if err != nil {
		return nil, err
	}
	ids, err := t.configure(v.config, v.defaults)
	if err != nil {
		return nil, err
	}
	t.settings.warnings = append(t.settings.warnings, v.notes...)
	if t.post.prefix, err = v.pick(ids, v.before); err != nil {
		return nil, err
	}
	if t.post.suffix, err = v.pick(ids, v.after); err != nil {
		return nil, err
	}
	if v.pair != nil {
		t.post.setPair(v.pair(t.post.prefix, t.post.suffix), nil)
	}
	return t, nil
}

// pick returns the ids of special tokens.
func (v *converter) pick(ids map[string]int32, keys []string) ([]int32, error) {
	var out []int32
	for _, key := range keys {
		id, ok := ids[key]
		if !ok {
			return nil, fmt.Errorf("%s: %s puts it around a text, but the vocabulary has no such token", key, v.class)
		}
		out = append(out, id)
	}
	return out, nil
}

// folderClass returns the tokenizer class of a folder: the one that tokenizer_config.json or config.json names, or the
// one of config.json's model type; where transformers would know none, the one that the files belong to.
func folderClass(folder fs.FS, c config) (string, error) {
	named, err := setting(c, "tokenizer_class", "")
	if err != nil {
		return "", err
	}
	var model struct {
		Type  string `json:"model_type"`
		Class string `json:"tokenizer_class"`
	}
	data, err := fs.ReadFile(folder, "config.json")
	if err == nil {
		err = json.Unmarshal(data, &model)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("config.json: %w", err)
	}
	if named == "" {
		named = model.Class
	}
	named = strings.TrimSuffix(named, "Fast")
	if byModel := modelClasses[model.Type]; byModel == genericClass || named == "" {
		named = byModel
	}
	fits := ""
	for _, f := range []struct{ name, class string }{
		{"tokenizer.model", genericClass}, {"spiece.model", "T5Tokenizer"}, {"vocab.json", "GPT2Tokenizer"},
		{"merges.txt", "GPT2Tokenizer"}, {"vocab.txt", "BertTokenizer"},
	} {
		if _, err := fs.Stat(folder, f.name); err == nil && fits == "" {
			fits = f.class
		}
	}
	if fits == "" && len(c) == 0 { // config.json alone names no tokenizer that is there
		return "", fmt.Errorf("%w: have none of tokenizer.json, tokenizer.model, spiece.model, vocab.json with merges.txt, vocab.txt", ErrNone)
	}
	if named != "" && named != genericClass && named != "PreTrainedTokenizer" {
		return named, nil
	}
	if fits == "" {
		return "", fmt.Errorf("%w: have tokenizer_config.json, but none of tokenizer.json, tokenizer.model, spiece.model, vocab.json with merges.txt, vocab.txt", ErrNone)
	}
	return fits, nil
}

// read returns the first of the files that the folder has.
func (v *converter) read(names ...string) ([]byte, string, error) {
	for _, name := range names {
		data, err := fs.ReadFile(v.folder, name)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return data, name, err
		}
	}
	return nil, "", fmt.Errorf("%s is made of %s, which is missing", v.class, strings.Join(names, " or "))
}

// flag returns a boolean setting.
func (v *converter) flag(key string, otherwise bool) bool {
	b, err := setting(v.config, key, otherwise)
	v.err = errors.Join(v.err, err)
	return b
}

// tokenName returns the content of a special token.
func (v *converter) tokenName(key string) string {
	token, named, err := v.config.token(key)
	v.err = errors.Join(v.err, err)
	if !named {
		return v.defaults[key]
	}
	return token.Content
}

// startAndEnd puts the start and end tokens around a text where the settings ask for it.
func (v *converter) startAndEnd() {
	for key, to := range map[string]*[]string{"bos_token": &v.before, "eos_token": &v.after} {
		if v.flag("add_"+key, false) && v.tokenName(key) != "" {
			*to = []string{key}
		}
	}
}

// note reports what a SentencePiece model asks for and its class does not do.
func (v *converter) note(differs bool, what string) {
	if differs {
		v.notes = append(v.notes, fmt.Sprintf("the SentencePiece model %s, which %s of transformers does not, and so it is not done", what, v.class))
	}
}

func (v *converter) gpt2() (*document, error) {
	v.defaults = map[string]string{"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
	v.startAndEnd()
	return v.byteLevel("")
}

func (v *converter) roberta() (*document, error) {
	v.defaults = map[string]string{"bos_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "cls_token": "<s>", "unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>"}
	v.before, v.after, v.pair = []string{"cls_token"}, []string{"sep_token"}, robertaPair
	d, err := v.byteLevel("")
	if err == nil {
		d.sections["post_processor"] = fmt.Sprintf(`{"type":"ByteLevel","trim_offsets":%v,"add_prefix_space":%v}`, v.flag("trim_offsets", true), v.flag("add_prefix_space", false))
	}
	return d, err
}

func (v *converter) qwen2() (*document, error) {
	v.defaults = map[string]string{"eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
	v.startAndEnd()
	d, err := v.byteLevel(qwenPattern)
	if err == nil {
		d.sections["normalizer"] = `{"type":"NFC"}`
	}
	return d, err
}

// byteLevel reads vocab.json and merges.txt. pattern cuts the text into words, GPT-2's where it is empty.
func (v *converter) byteLevel(pattern string) (*document, error) {
	model, err := v.readBPE()
	if err != nil {
		return nil, err
	}
	pre := fmt.Sprintf(`{"type":"ByteLevel","add_prefix_space":%v,"use_regex":%v}`, v.flag("add_prefix_space", false), pattern == "")
	if pattern != "" {
		quoted, err := json.Marshal(pattern)
		if err != nil {
			return nil, err
		}
		pre = fmt.Sprintf(`{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":%s},"behavior":"Isolated"},%s]}`, quoted, pre)
	}
	return &document{model: model, sections: map[string]string{"pre_tokenizer": pre, "decoder": `{"type":"ByteLevel"}`}}, nil
}

func (v *converter) bert() (*document, error) {
	v.defaults = map[string]string{"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]"}
	v.before, v.after, v.pair = []string{"cls_token"}, []string{"sep_token"}, bertPair
	model, err := v.readWordPiece()
	if err != nil {
		return nil, err
	}
	accents, err := setting[*bool](v.config, "strip_accents", nil)
	if err != nil {
		return nil, err
	}
	normalizer, err := json.Marshal(component{
		Type: "BertNormalizer", CleanText: new(true), ChineseChars: new(v.flag("tokenize_chinese_chars", true)),
		StripAccents: accents, Lowercase: new(v.flag("do_lower_case", true)),
	})
	return &document{model: model, sections: map[string]string{
		"normalizer": string(normalizer), "pre_tokenizer": `{"type":"BertPreTokenizer"}`, "decoder": `{"type":"WordPiece","prefix":"##"}`,
	}}, err
}
