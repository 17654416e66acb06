// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/landlock.h"

#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "base/fd.h"
#include "engine/kernel/envoy.h"
#include "engine/kernel/iterator.h"
#include "engine/kernel/kernel_types.h"

namespace ks::engine {

namespace {

constexpr size_t kWord = sizeof(uint64_t);
constexpr size_t kWords = 16;  // of what security modules have added to credentials (include/linux/lsm_hooks.h)

// What the program writes for each thread.
using Credentials = std::array<uint64_t, kWords>;
constexpr int64_t kRecordAt = -static_cast<int64_t>(sizeof(Credentials));

Result<Iterator> load_iterator(const KernelTypes& types) {
  using namespace bpf;
  auto code = begin(kContextTask);
  for (auto [structure, member] : {std::pair("task_struct", "cred"), {"cred", "security"}})
    append(code, follow(kRecordAt, TRY(types.offset(structure, member))));
  // One after the other: there may be fewer.
  for (size_t i = 0; i < kWords; ++i) {
    auto at = static_cast<int64_t>(i * kWord);
    append(code, read(kRecordAt + at, kWord, BPF_REG_7, at));
  }
  finish(code, kRecordAt, sizeof(Credentials));
  return Iterator::load(types, "task", code);
}

Result<std::vector<Credentials>> credentials_of(const Iterator& iterator, pid_t pid) {
  return bpf::records<Credentials>(TRY(iterator.run(pid)));
}

Result<std::string> give_up_rights() {
  landlock_ruleset_attr rules{};
  rules.handled_access_fs = LANDLOCK_ACCESS_FS_MAKE_BLOCK;
  Fd ruleset(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &rules, sizeof rules.handled_access_fs, 0)));
  if (!ruleset) return fail_errno("landlock_create_ruleset");
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return fail_errno("PR_SET_NO_NEW_PRIVS");
  if (::syscall(SYS_landlock_restrict_self, ruleset.get(), 0)) return fail_errno("landlock_restrict_self");
  return "";
}

bool is_address(uint64_t word) { return word >> 63; }  // of the kernel

class Domains {
 public:
  static Result<Domains> look_into() {
    if (::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION) < 0) return Domains();
    auto types = TRY(KernelTypes::read());
    Domains domains;
    domains.iterator_ = TRY(load_iterator(types));
    domains.place_ = TRY(find_place(*domains.iterator_));
    return domains;
  }

  Result<bool> is_anybody_in() const {
    if (!iterator_) return false;
    return is_any_in(bpf::records<Credentials>(TRY(iterator_->run())));
  }

  Result<bool> is_in(pid_t pid) const {
    if (!iterator_) return false;
    return is_any_in(TRY(credentials_of(*iterator_, pid)));
  }

 private:
  std::optional<Iterator> iterator_;  // nothing: there is no Landlock
  size_t place_ = 0;

  bool is_any_in(const std::vector<Credentials>& all) const {
    return std::ranges::any_of(all, [&](const Credentials& one) { return is_address(one[place_]); });
  }

  // Each security module has a place in the credentials that the kernel has given it at boot. So somebody gives up
  // rights: where he has the address of a domain then, others have nothing. Behind the last place lies something
  // else, which may be left from one of those before: so chance says who does, until one place alone is possible.
  static Result<size_t> find_place(const Iterator& iterator) {
    constexpr int kAtLeast = 4, kAtMost = 64;
    std::random_device chance;
    std::array<bool, kWords> possible;
    possible.fill(true);
    auto places = [&] { return std::ranges::count(possible, true); };
    for (int i = 0; i < kAtLeast || (i < kAtMost && places() > 1); ++i) {
      bool restricted = i < 2 ? i % 2 : chance() % 2;
      Envoy example =
          TRY(restricted ? Envoy::send(give_up_rights) : Envoy::send([] { return Result<std::string>(""); }));
      auto credentials = TRY(credentials_of(iterator, example.pid()));
      if (credentials.empty()) return fail("the kernel does not tell of credentials");
      for (size_t at = 0; at < kWords; ++at)
        possible[at] = possible[at] && (restricted ? is_address(credentials[0][at]) : credentials[0][at] == 0);
    }
    if (places() != 1) return fail("the kernel is unknown");
    return static_cast<size_t>(std::ranges::find(possible, true) - possible.begin());
  }
};

const Result<Domains>& known_domains() {
  static const Result<Domains> domains = Domains::look_into();
  return domains;
}

}  // namespace

Result<bool> is_anybody_in_landlock_domain() {
  const Result<Domains>& domains = known_domains();
  if (!domains) return std::unexpected(domains.error());
  return domains->is_anybody_in();
}

Result<bool> is_in_landlock_domain(pid_t pid) {
  const Result<Domains>& domains = known_domains();
  if (!domains) return std::unexpected(domains.error());
  return domains->is_in(pid);
}

void prepare_to_look_for_landlock() { (void)known_domains(); }

}  // namespace ks::engine
