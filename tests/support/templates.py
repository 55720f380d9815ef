"""Chat templates of several families, as strict as the published ones and much shorter.

What matters of each is what it refuses: turns that do not alternate, a system's words, calls and results of tools.
"""

ALTERNATE = (
    "{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
)
GEMMA_2 = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}" + ALTERNATE + "<start_of_turn>{{ 'model' if message.role == 'assistant' else "
    "message.role }}\n{{ message.content | trim }}<end_of_turn>\n{% endfor %}<start_of_turn>model\n"
)
MISTRAL = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{% set system = messages[0].content %}"
    "{% set turns = messages[1:] %}{% else %}{% set turns = messages %}{% endif %}{% set ns = namespace(index=0) %}"
    "{% for message in turns %}"
    "{% if message.role == 'user' or (message.role == 'assistant' and not message.tool_calls) %}"
    "{% if (message.role == 'user') != (ns.index % 2 == 0) %}{{ raise_exception('After the optional system message, "
    "conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% set ns.index = ns.index + 1 %}{% endif %}{% endfor %}"
    "{% for message in turns %}{% if message.role == 'user' %}[INST] {% if loop.last and system %}{{ system }}\n\n"
    "{% endif %}{% if loop.last and tools %}[AVAILABLE_TOOLS] {{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}"
    "{{ message.content }} [/INST]{% elif message.role == 'tool' %}[TOOL_RESULTS] {{ message.content }}"
    "[/TOOL_RESULTS]{% elif message.tool_calls %}[TOOL_CALLS] {{ message.tool_calls | tojson }}{{ eos_token }}"
    "{% else %} {{ message.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
CHATML = (
    "{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}{% for message in messages %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}{% if message.tool_calls %}<tool_call>"
    "{{ message.tool_calls | tojson }}</tool_call>{% endif %}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)
LLAMA_3 = (
    "{{ bos_token }}<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
    "{% if tools %}{% for tool in tools %}{{ tool | tojson(indent=4) }}\n\n{% endfor %}{% endif %}<|eot_id|>"
    "{% for message in messages %}{% if message.tool_calls %}{% if message.tool_calls | length != 1 %}"
    "{{ raise_exception('This model only supports single tool-calls at once!') }}{% endif %}{% endif %}"
    "<|start_header_id|>{{ 'ipython' if message.role == 'tool' else message.role }}<|end_header_id|>\n\n"
    "{{ message.content | trim }}<|eot_id|>{% endfor %}<|start_header_id|>assistant<|end_header_id|>\n\n"
)
PHI_3 = (
    "{% for message in messages %}{% if message.role in ['system', 'user', 'assistant'] %}<|{{ message.role }}|>\n"
    "{{ message.content }}<|end|>\n{% else %}{{ raise_exception('unknown role ' + message.role) }}{% endif %}"
    "{% endfor %}<|assistant|>\n"
)
R1 = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}<|User|>{{ message.content }}"
    "{% elif message.role == 'assistant' and message.content %}<|Assistant|>{{ message.content.split('</think>')[-1] }}"
    "<|end|>{% elif message.role == 'tool' %}<|tool|>{{ message.content }}{% endif %}{% endfor %}<|Assistant|><think>\n"
)
FAMILIES = {
    "gemma-2": GEMMA_2,
    "mistral": MISTRAL,
    "chatml": CHATML,
    "llama-3": LLAMA_3,
    "phi-3": PHI_3,
    "deepseek-r1": R1,
}
KNOW_TOOLS = ("mistral", "chatml", "llama-3")
