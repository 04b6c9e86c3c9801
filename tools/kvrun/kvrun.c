/* kvrun: talks to a model, or does something else with it that a subcommand names. Answers go to stdout, everything else to
 * stderr. */
#include "cli/cli.h"
#include "kvrun/cmd.h"

int main(int argc, char **argv) {
    static const cli_command commands[] = {
        {"read", "read a document once, into a file that remembers it", cmd_read},
        {"ask", "answer questions about a document that was read", cmd_ask},
        {"info", "what such a file holds", cmd_info},
        {"contexts", "what --context-cache has kept", cmd_contexts},
        {"docs", "a library of documents that were read, to be asked by name", cmd_docs},
        {"pull", "get a model, by its name or address", cmd_pull},
        {"list", "models that are here", cmd_list},
        {"rm", "remove a model", cmd_rm},
        {"serve", "a server that speaks to clients of OpenAI, Anthropic and Ollama", cmd_serve},
        {"client", "ask a server, and print what it says as it comes", cmd_client},
        {"text", "what is read of a document, as plain text", cmd_text},
        {0},
    };
    return cli_dispatch_or(commands, cmd_chat, argc, argv);
}
