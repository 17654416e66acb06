// SPDX-License-Identifier: LGPL-2.1-or-later
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "machine.h"
#include "rows.h"

namespace ks::bench {

namespace {

constexpr size_t kGrowth = 4;  // the large size is so many times the small one

struct Row {
  std::string_view what;
  size_t factor;     // of Plan::scale
  double (*cost)();  // of one, to the kernel
};
constexpr Row kRows[] = {
    {"processes", 1, process_cost},       {"threads", 1, thread_cost},
    {"descriptors", 10, descriptor_cost}, {"areas", 10, area_cost},
    {"sockets", 10, socket_cost},         {"connections", 5, socket_cost}};  // to peers outside, and held back

std::string key(std::string_view what, const char* size, const char* act) {
  return fmt::format("{} {} {}", what, size, act);
}

Result<> measure(const Row& row, size_t count, const char* size, const Plan& plan, Samples& samples) {
  for (Contestant contestant : {Contestant::engine, Contestant::criu}) {
    bool criu = contestant == Contestant::criu;
    if (criu && !has_criu()) continue;
    auto passed = pass(contestant, std::string(row.what), count, plan.memory_directory);
    if (!passed && criu) {
      std::fputs(fmt::format("criu: {} {}: {}\n", count, row.what, passed.error().what).c_str(), stderr);
      continue;
    }
    Passage passage = TRY(in(fmt::format("{} {}", count, row.what), std::move(passed)));
    std::string who = criu ? "criu " : "";
    samples.add(key(row.what, size, (who + "dump").c_str()), passage.dump.seconds);
    samples.add(key(row.what, size, (who + "restore").c_str()), passage.restore.seconds);
    samples.add(key(row.what, size, (who + "dump cpu").c_str()), passage.dump.cpu_seconds);
    samples.add(key(row.what, size, (who + "restore cpu").c_str()), passage.restore.cpu_seconds);
    samples.add(key(row.what, size, (who + "dump peak").c_str()), static_cast<double>(passage.dump.peak_bytes));
    samples.add(key(row.what, size, (who + "restore peak").c_str()), static_cast<double>(passage.restore.peak_bytes));
  }
  return {};
}

void print(const Row& row, size_t count, const Samples& samples) {
  auto large = [&](const char* act) { return samples.median(key(row.what, "large", act)); };
  auto small = [&](const char* act) { return samples.median(key(row.what, "small", act)); };
  auto number = static_cast<double>(count);
  std::string text = fmt::format("  {:>6} {:<12}", count, row.what);
  for (const char* act : {"dump", "restore"}) {
    double each = large(act) / number;
    std::string cpu = std::string(act) + " cpu";
    text += fmt::format("{:>9.1f} us{:>8.1f} us{:>7.1f} x{:>7.2f}{:>7.2f}", each * 1e6,
                        large(cpu.c_str()) / number * 1e6, each / samples.median(key(row.what, "", "cost")),
                        large(act) / small(act) / kGrowth, large(cpu.c_str()) / small(cpu.c_str()) / kGrowth);
  }
  double peak = std::max(large("dump peak"), large("restore peak"));
  double less = std::max(small("dump peak"), small("restore peak"));
  text += fmt::format("{:>8.1f} MiB{:>7.2f} KiB{:>6.2f}", peak / kMebibyte,
                      (peak - less) / (number - number / kGrowth) / 1024, peak / (64 * kMebibyte + number * 1024));
  for (const char* act : {"dump", "restore"}) {
    double criu = large(fmt::format("criu {}", act).c_str());
    if (criu > 0) text += fmt::format("{:>8.2f}", large(act) / criu);
  }
  std::puts(text.c_str());
}

}  // namespace

bool is_scale_row(std::string_view what) { return std::ranges::find(kRows, what, &Row::what) != std::end(kRows); }

Result<> measure_scale(const Plan& plan) {
  Samples samples;
  auto is_asked = [&](const Row& row) { return plan.row.empty() || plan.row == row.what; };
  for (int round = 0; round < plan.rounds; ++round)
    for (const Row& row : kRows) {
      if (!is_asked(row)) continue;
      size_t count = plan.scale * row.factor;
      samples.add(key(row.what, "", "cost"), row.cost());
      TRY(measure(row, count / kGrowth, "small", plan, samples));
      TRY(measure(row, count, "large", plan, samples));
    }
  std::string heads;
  for (const char* act : {"dump", "restore"})
    heads += fmt::format("{:>12}{:>11}{:>9}{:>14}", act, "cpu", "", "growth, cpu");
  std::puts(
      fmt::format("\nmany of one thing, medians of {} rounds. cpu: of the engine alone; x: the time in which the "
                  "kernel makes and\nends one; growth: time for {} times as many, divided by {} (1: linear, below: "
                  "a part is constant);\npart: of 64 MiB + 1 KiB for each\n{:21}{}{:>12}{:>11}{:>6}{}",
                  plan.rounds, kGrowth, kGrowth, "", heads, "peak memory", "of each", "part",
                  has_criu() ? "   engine / criu" : "")
          .c_str());
  for (const Row& row : kRows)
    if (is_asked(row)) print(row, plan.scale * row.factor, samples);
  return {};
}

}  // namespace ks::bench
