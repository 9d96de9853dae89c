package config

import (
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"

	"kdistill/internal/suggest"
)

// habits translates names of Hugging Face's Trainer and TRL.
var habits = map[string]string{
	"model_name_or_path":          "use student.path",
	"teacher_model_name_or_path":  "use teacher.path",
	"torch_dtype":                 "use teacher.dtype for the teacher in memory, output.dtype for the result; train.precision for matrix products",
	"bf16":                        "use train.precision; teacher.dtype for the teacher in memory, output.dtype for the result",
	"fp16":                        "training is in float32 or bfloat16: use train.precision",
	"output_dir":                  "use output.dir",
	"overwrite_output_dir":        "use the flag --overwrite",
	"resume_from_checkpoint":      "use the flag --resume",
	"dataset_name":                "use data.train",
	"train_file":                  "use data.train",
	"train_dataset":               "use data.train",
	"validation_file":             "use data.eval",
	"eval_dataset":                "use data.eval",
	"dataset_text_field":          "use data.train[].field",
	"completion_only_loss":        "use data.train[].mask_prompt",
	"max_seq_length":              "use data.sequence_length",
	"max_length":                  "use data.sequence_length",
	"block_size":                  "use data.sequence_length",
	"learning_rate":               "use train.optimizer.lr",
	"adam_beta1":                  "use train.optimizer.betas",
	"adam_beta2":                  "use train.optimizer.betas",
	"adam_epsilon":                "use train.optimizer.eps",
	"optim":                       "use train.optimizer.name",
	"lr_scheduler_type":           "use train.schedule.name",
	"lr_scheduler_kwargs":         "use train.schedule.min_lr_ratio and train.schedule.decay_steps",
	"warmup_ratio":                "use train.schedule.warmup_steps, a number of optimizer steps",
	"num_warmup_steps":            "use train.schedule.warmup_steps",
	"min_lr_rate":                 "use train.schedule.min_lr_ratio",
	"num_train_epochs":            "use train.epochs",
	"max_steps":                   "use train.steps",
	"per_device_train_batch_size": "use train.micro_batch_size, and train.batch_size for the sequences of a whole optimizer step",
	"per_device_eval_batch_size":  "use train.micro_batch_size",
	"gradient_accumulation_steps": "use train.batch_size for the sequences of a whole optimizer step; it is accumulated from passes of train.micro_batch_size",
	"gradient_checkpointing":      "use train.activation_recompute",
	"logging_steps":               "leave it out: every step is written to metrics.jsonl",
	"report_to":                   "leave it out: metrics.jsonl and TensorBoard files are always written",
	"eval_steps":                  "use train.eval_every",
	"eval_strategy":               "use train.eval_every, 0 for the end only",
	"evaluation_strategy":         "use train.eval_every, 0 for the end only",
	"save_steps":                  "use train.save_every",
	"save_strategy":               "use train.save_every, 0 for the end only",
	"save_total_limit":            "use train.keep",
	"load_best_model_at_end":      "leave it out: with data.eval the best checkpoint is always kept",
	"metric_for_best_model":       "use train.best_metric",
	"label_smoothing_factor":      "use label_smoothing of the loss cross_entropy",
	"lmbda":                       "training on the student's own samples is not available; leave it out",
	"seq_kd":                      "make the teacher's text with kdistill synth and train on that",
	"num_hidden_layers":           "use student.config.num_hidden_layers",
	"dataloader_num_workers":      "leave it out: --threads sets the number of threads",
	"push_to_hub":                 "leave it out: the result is a folder that any tool can upload",
	"group_by_length":             "use data.packing",
}

// unknown reports that name is no key of section, and what was probably meant. here: the names that are valid there.
func (d *decoder) unknown(n *yaml.Node, section, name string, here []string) {
	hint := habits[name]
	if hint == "" {
		hint = meant(section, name, here)
	}
	d.fail(n, join(section, name), "unknown key: %s", hint)
}

// meant looks for a key of that very name elsewhere, best in the same section, then for one that is spelt like it.
func meant(section, name string, here []string) string {
	var same, inside []string
	for _, key := range keys(reflect.TypeFor[Config](), "") {
		if strings.HasSuffix(key, "."+name) && !strings.HasPrefix(key, "stages[]") { // whose keys are those of other sections
			same = append(same, key)
			if strings.HasPrefix(key, section+".") {
				inside = append(inside, key)
			}
		}
	}
	near := suggest.Nearest(name, here)
	switch {
	case len(inside) > 0:
		return "did you mean " + words("or", inside) + "?"
	case near != "":
		return "did you mean " + join(section, near) + "?"
	case len(same) > 0:
		return "did you mean " + words("or", same) + "?"
	case section == "":
		return "the sections are " + words("and", here)
	}
	return section + " has " + words("and", here)
}
