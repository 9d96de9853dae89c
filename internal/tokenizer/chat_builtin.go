package tokenizer

// builtinTemplates can be used instead of a template that is missing or cannot be rendered. They take texts, or lists of
// parts with texts, and mark what the assistant says; tools and documents they refuse.
var builtinTemplates = map[string]string{
	"chatml": builtinBegin + `
{%- for message in messages %}
  {{- '<|im_start|>' ~ message.role ~ '\n' }}
  {%- if message.role == 'assistant' %}
    {%- generation %}{{ text(message) ~ '<|im_end|>' }}{% endgeneration %}
  {%- else %}
    {{- text(message) ~ '<|im_end|>' }}
  {%- endif %}
  {{- '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
  {{- '<|im_start|>assistant\n' }}
{%- endif %}`,

	"llama3": builtinBegin + `
{{- bos_token }}
{%- for message in messages %}
  {{- '<|start_header_id|>' ~ message.role ~ '<|end_header_id|>\n\n' }}
  {%- if message.role == 'assistant' %}
    {%- generation %}{{ text(message) | trim ~ '<|eot_id|>' }}{% endgeneration %}
  {%- else %}
    {{- text(message) | trim ~ '<|eot_id|>' }}
  {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
  {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}`,

	"gemma": builtinBegin + `
{{- bos_token }}
{%- set ns = namespace(system='') %}
{%- if messages[0].role == 'system' %}
  {%- set ns.system = text(messages[0]) | trim ~ '\n\n' %}
  {%- set messages = messages[1:] %}
{%- endif %}
{%- for message in messages %}
  {%- if (message.role == 'user') != (loop.index0 % 2 == 0) or message.role not in ['user', 'assistant'] %}
    {{- raise_exception('the messages behind a system message must be of user and assistant in turn') }}
  {%- endif %}
  {{- '<start_of_turn>' ~ ('user' if message.role == 'user' else 'model') ~ '\n' }}
  {%- if message.role == 'assistant' %}
    {%- generation %}{{ text(message) | trim ~ '<end_of_turn>' }}{% endgeneration %}
  {%- else %}
    {{- ns.system ~ text(message) | trim ~ '<end_of_turn>' }}
    {%- set ns.system = '' %}
  {%- endif %}
  {{- '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
  {{- '<start_of_turn>model\n' }}
{%- endif %}`,

	// alpaca is the prompt of Stanford Alpaca: a preamble (a system message takes its place), the instruction, its input where a message has one apart,
	// the answer behind "### Response:", the end token. Start tokens are the tokenizer's own business.
	"alpaca": builtinBegin + `
{%- if messages[0].role == 'system' %}
  {{- text(messages[0]) ~ '\n\n' }}
  {%- set messages = messages[1:] %}
{%- elif messages[0].input %}
  {{- 'Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n' }}
{%- else %}
  {{- 'Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n' }}
{%- endif %}
{%- for message in messages %}
  {%- if message.role == 'assistant' %}
    {%- generation %}{{ text(message) ~ (eos_token or '') }}{% endgeneration %}
    {%- if not loop.last %}
      {{- '\n\n' }}
    {%- endif %}
  {%- else %}
    {{- '### Instruction:\n' ~ (message.instruction or text(message)) ~ '\n\n' }}
    {%- if message.input %}
      {{- '### Input:\n' ~ message.input ~ '\n\n' }}
    {%- endif %}
    {{- '### Response:' }}
  {%- endif %}
{%- endfor %}`,

	// none writes the contents one after the other, with nothing around them.
	"none": builtinBegin + `
{%- for message in messages %}
  {%- if message.role == 'assistant' %}
    {%- generation %}{{ text(message) }}{% endgeneration %}
  {%- else %}
    {{- text(message) }}
  {%- endif %}
{%- endfor %}`,
}

const builtinBegin = `
{%- if tools or documents %}
  {{- raise_exception('the built-in chat templates have no place for tools and documents') }}
{%- endif %}
{%- macro text(message) %}
  {%- if message.tool_calls %}
    {{- raise_exception('the built-in chat templates have no place for tool calls') }}
  {%- endif %}
  {%- if message.content is string %}
    {{- message.content }}
  {%- else %}
    {%- for part in message.content or [] %}
      {%- if part.text is not string %}
        {{- raise_exception('the built-in chat templates have a place for text only') }}
      {%- endif %}
      {{- part.text }}
    {%- endfor %}
  {%- endif %}
{%- endmacro %}`
