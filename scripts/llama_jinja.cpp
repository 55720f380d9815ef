// What does llama.cpp's own template engine make of a conversation?
//
// Reads one JSON object per line: {"source": template, "now": epoch seconds, "variables": {"messages": […], …}}.
// Writes one JSON object per line: {"text": …}, or {"error": …} when the engine refuses or fails. compare_templates.py
// builds and drives it.

#include "json.h"
#include "jinja/lexer.h"
#include "jinja/parser.h"
#include "jinja/runtime.h"

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>

// json.cpp asserts through ggml; the rest of ggml is not needed.
extern "C" void ggml_abort(const char * file, int line, const char * format, ...) {
    std::fprintf(stderr, "%s:%d: %s\n", file, line, format);
    std::abort();
}

static std::string render(const common_json & job) {
    jinja::lexer lexer;
    auto tokens = lexer.tokenize(job.at("source").get<std::string>());
    jinja::program program = jinja::parse_from_tokens(tokens);
    jinja::context context(tokens.source);
    context.current_time = job.at("now").get<int64_t>();
    jinja::global_from_json(context, job.at("variables"), false);
    jinja::runtime runtime(context);
    const jinja::value results = runtime.execute(program);
    return jinja::runtime::gather_string_parts(results)->as_string().str();
}

int main() {
    std::string line;
    while (std::getline(std::cin, line)) {
        common_json answer;
        try {
            answer["text"] = render(common_json::parse(line));
        } catch (const std::exception & error) {
            answer = common_json();
            answer["error"] = std::string(error.what());
        }
        std::cout << answer.dump() << std::endl;
    }
}
