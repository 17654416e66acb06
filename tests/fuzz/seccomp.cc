// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/seccomp.h"

#include <cstring>

#include "target.h"

namespace ks::fuzz {

void run(std::string_view input) {
  engine::SeccompFilter filter;
  filter.code.resize(input.size() / sizeof(sock_filter));
  if (!filter.code.empty()) std::memcpy(filter.code.data(), input.data(), filter.code.size() * sizeof(sock_filter));
  seccomp_data call{.nr = 1, .arch = 0xc000003e, .instruction_pointer = 0x7fff00001000, .args = {1, 2, 3, 4, 5, 6}};
  auto result = engine::run_filter(filter.code, call);
  auto action = engine::filtered_action(std::span(&filter, 1), call);
  require(result.has_value() == action.has_value(), "one filter fails as all do");
  if (!action) return require(action.error().what.starts_with("seccomp filter: "), "an error says of what");
  bool notifies = *action == SECCOMP_RET_USER_NOTIF;
  require(!notifies || engine::may_notify(filter.code), "who notifies is known to");
  require(!engine::is_allowed(*action) || engine::is_harmless(*action), "what is allowed is harmless");
}

static std::string bytes(std::initializer_list<sock_filter> code) {
  return std::string(reinterpret_cast<const char*>(code.begin()), code.size() * sizeof(sock_filter));
}

std::vector<std::string> seeds() {
  return {
      bytes({BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)}),
      bytes({BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 4), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0xc000003e, 1, 0),
             BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS), BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
             BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 300, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 1),
             BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_LOG)}),
      bytes({BPF_STMT(BPF_LD | BPF_IMM, 3), BPF_STMT(BPF_ST, 2), BPF_STMT(BPF_LDX | BPF_MEM, 2),
             BPF_STMT(BPF_ALU | BPF_DIV | BPF_X, 0), BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 31),
             BPF_STMT(BPF_RET | BPF_A, 0)}),
  };
}

}  // namespace ks::fuzz
