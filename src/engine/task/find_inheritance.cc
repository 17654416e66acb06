// SPDX-License-Identifier: LGPL-2.1-or-later
// What processes share is told by the numbers of the page frames behind their areas (pagemap).
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <optional>
#include <set>
#include <tuple>

#include "base/file.h"
#include "engine/context/page_descent.h"
#include "engine/target/process.h"
#include "engine/task/inheritance.h"

namespace ks::engine {

namespace {

// A process in the order of cloning, the seed first.
struct Node {
  pid_t pid = 0;
  size_t cloner = 0;
  Fd pagemap;
  std::vector<uint32_t> blocks;
  std::vector<PageSource> given;
  std::vector<PageRun> dropped, own;
};

struct Candidate {
  size_t node;
  const image::Area* area;
};

// Areas that are mapped alike: what counts is what fork(2) hands down and nobody can change afterwards.
auto alikeness(const image::Area& area) {
  int huge = 0;
  for (int advice : area.advice())
    if (advice == MADV_HUGEPAGE || advice == MADV_NOHUGEPAGE) huge = advice;
  uint64_t base = area.source() == image::Area::FILE ? area.start() - area.offset() : 0;
  return std::tuple(area.source(), area.id(), base, area.grows_down(), area.no_reserve(), area.huge_page(), huge);
}

void add_run(std::vector<PageRun>& runs, uint64_t start, uint64_t end) {
  if (!runs.empty() && runs.back().end == start)
    runs.back().end = end;
  else
    runs.push_back({start, end});
}

// A stretch of memory that areas of several processes make up, which lie over each other.
struct Block {
  image::Area area;
  std::vector<Candidate> parts;
};

std::vector<Block> find_blocks(std::vector<Candidate> candidates) {
  std::ranges::sort(candidates, {}, [](const Candidate& candidate) {
    return std::tuple(alikeness(*candidate.area), candidate.area->start(), candidate.node);
  });
  std::vector<Block> blocks;
  for (const Candidate& candidate : candidates) {
    bool joins = !blocks.empty() && alikeness(blocks.back().area) == alikeness(*candidate.area) &&
                 candidate.area->start() < blocks.back().area.end();
    if (!joins) blocks.push_back({.area = *candidate.area, .parts = {}});
    Block& block = blocks.back();
    block.area.set_end(std::max(block.area.end(), candidate.area->end()));
    block.area.set_protection(block.area.protection() | candidate.area->protection());
    block.parts.push_back(candidate);
  }
  std::erase_if(blocks, [](const Block& block) {
    return std::ranges::all_of(block.parts, [&](const Candidate& part) { return part.node == block.parts[0].node; });
  });
  // Where different ones lie over each other, the one that more have gets the place.
  std::ranges::stable_sort(blocks, std::greater(), [](const Block& block) { return block.parts.size(); });
  std::vector<Block> apart;
  for (Block& block : blocks) {
    bool free = std::ranges::none_of(apart, [&](const Block& other) {
      return block.area.start() < other.area.end() && other.area.start() < block.area.end();
    });
    if (free) apart.push_back(std::move(block));
  }
  return apart;
}

class Search {
 public:
  Search(Dumping& dumping, std::span<const Cloner> cloners) : dumping_(dumping) {
    std::map<pid_t, size_t> by_pid = {{0, 0}};
    nodes_.resize(cloners.size() + 1);
    for (size_t i = 0; i < cloners.size(); ++i) {
      by_pid[cloners[i].pid] = i + 1;
      nodes_[i + 1].pid = cloners[i].pid;
      nodes_[i + 1].cloner = by_pid.at(cloners[i].by);
    }
  }

  Result<> run() {
    std::vector<Candidate> candidates;
    for (size_t node = 1; node < nodes_.size(); ++node)
      for (const auto& area : dumping_.pages[nodes_[node].pid].maybe_shared) candidates.push_back({node, &area});
    for (Block& block : find_blocks(std::move(candidates))) TRY(examine(block));
    return {};
  }

  GivenPages finish(image::Inheritance& out) {
    GivenPages given;
    for (auto& block : blocks_) *out.add_blocks() = std::move(block);
    for (Node& node : nodes_) {
      if (node.blocks.empty()) continue;
      DumpedPages& pages = dumping_.pages[node.pid];
      settle(node, pages);
      auto* member = out.add_members();
      member->set_pid(node.pid);
      member->set_cloner(nodes_[node.cloner].pid);
      for (uint32_t block : node.blocks) member->add_blocks(block);
      for (const PageRun& area : covered_[index_of(node)]) member->add_kept(area.start);
      auto put = [](const PageRun& run, auto* into) {
        into->set_start(run.start);
        into->set_end(run.end);
      };
      for (const auto& source : node.given) put(source.run, member->add_given());
      for (const PageRun& run : node.dropped) put(run, member->add_dropped());
      for (const PageRun& run : pages.runs) put(run, member->add_own());
      given[node.pid] = std::move(node.given);
    }
    return given;
  }

 private:
  static constexpr size_t kEntries = 1 << 20;  // that are held at a time, of all processes together
  static constexpr uint64_t kWorthDropping = 16 * kPageSize;

  // Of one block, by the number of a process in it.
  struct Finding {
    std::vector<PageSource> given;
    std::vector<PageRun> own, dropped, replaced;
  };

  // Those that have a part in it, and all from whom they descend.
  std::vector<size_t> family_of(const Block& block) const {
    std::set<size_t> family = {0};
    for (const auto& part : block.parts)
      for (size_t node = part.node; family.insert(node).second;) node = nodes_[node].cloner;
    return {family.begin(), family.end()};
  }

  Result<> identify(size_t node, uint64_t start, std::span<uint64_t> pages) {
    Fd& pagemap = nodes_[node].pagemap;
    if (!pagemap) pagemap = TRY(open_file(proc_path(nodes_[node].pid, "pagemap"), O_RDONLY));
    return identify_pages(pagemap.get(), start, pages);
  }

  // What of [start, end) in this process is data in the block's areas.
  static void clip(const std::vector<PageRun>& runs, const std::vector<PageRun>& areas, const PageRun& window,
                   std::vector<PageRun>& into) {
    into.clear();
    for (const PageRun& area : areas) {
      uint64_t start = std::max(area.start, window.start), end = std::min(area.end, window.end);
      if (start >= end) continue;
      auto run = std::ranges::upper_bound(runs, start, {}, &PageRun::end);
      for (; run != runs.end() && run->start < end; ++run)
        add_run(into, std::max(run->start, start), std::min(run->end, end));
    }
  }

  Result<> examine(const Block& block) {
    std::vector<size_t> family = family_of(block);
    std::vector<size_t> cloners(family.size());
    std::vector<std::vector<PageRun>> areas(family.size());
    auto place = [&](size_t node) {
      return static_cast<size_t>(std::ranges::lower_bound(family, node) - family.begin());
    };
    for (size_t i = 1; i < family.size(); ++i) cloners[i] = place(nodes_[family[i]].cloner);
    for (const auto& part : block.parts) areas[place(part.node)].push_back({part.area->start(), part.area->end()});
    PageDescent descent(std::move(cloners));
    std::vector<Finding> findings(family.size());

    uint64_t most = std::clamp<uint64_t>(kEntries / family.size(), 512, 65536) * kPageSize;
    for (uint64_t start = block.area.start(); start < block.area.end(); start += most) {
      PageRun window{start, std::min(start + most, block.area.end())};
      TRY(examine_window(window, family, areas, descent, findings));
    }

    auto number = static_cast<uint32_t>(blocks_.size());
    bool any = false;
    for (size_t i = 0; i < family.size(); ++i) {
      if (!descent.takes_part(i)) continue;
      any = true;
      Node& node = nodes_[family[i]];
      Finding& found = findings[i];
      node.blocks.push_back(number);
      std::ranges::move(found.given, std::back_inserter(node.given));
      std::ranges::move(found.own, std::back_inserter(node.own));
      std::ranges::move(found.dropped, std::back_inserter(node.dropped));
      // To write over a page copies it first; a large one would come back in small pieces.
      std::ranges::copy_if(found.replaced, std::back_inserter(node.dropped),
                           [](const PageRun& run) { return run.end - run.start >= kWorthDropping; });
      for (const PageRun& area : areas[i]) covered_[family[i]].push_back(area);
    }
    if (any) blocks_.push_back(block.area);
    return {};
  }

  Result<> examine_window(const PageRun& window, const std::vector<size_t>& family,
                          const std::vector<std::vector<PageRun>>& areas, PageDescent& descent,
                          std::vector<Finding>& findings) {
    size_t pages = (window.end - window.start) / kPageSize;
    std::vector<std::vector<uint64_t>> frames(family.size());
    std::vector<std::vector<bool>> has(family.size());
    std::vector<PageRun> data;
    for (size_t i = 0; i < family.size(); ++i) {
      if (areas[i].empty()) continue;
      clip(dumping_.pages[nodes_[family[i]].pid].runs, areas[i], window, data);
      if (data.empty()) continue;
      has[i].resize(pages);
      for (const PageRun& run : data)
        for (uint64_t at = run.start; at < run.end; at += kPageSize) has[i][(at - window.start) / kPageSize] = true;
      frames[i].resize(pages);
      TRY(identify(family[i], window.start, frames[i]));
    }
    // A page may be moved between two looks and its frame be given to another process. So all are looked at twice:
    // for two pages to be taken for one, their frame would have to change hands three times meanwhile.
    std::vector<uint64_t> again(pages);
    for (size_t i = 0; i < family.size(); ++i) {
      if (frames[i].empty()) continue;
      TRY(identify(family[i], window.start, again));
      for (size_t page = 0; page < pages; ++page)
        if (frames[i][page] != again[page] || !has[i][page]) frames[i][page] = 0;
    }
    std::vector<uint64_t> row(family.size());
    for (size_t page = 0; page < pages; ++page) {
      for (size_t i = 0; i < family.size(); ++i) row[i] = frames[i].empty() ? 0 : frames[i][page];
      descent.decide(row);
      uint64_t at = window.start + page * kPageSize;
      for (size_t i = 0; i < family.size(); ++i)
        note(at, row[i], !has[i].empty() && has[i][page], i, descent, row, family, areas[i], findings[i]);
    }
    return {};
  }

  void note(uint64_t at, uint64_t frame, bool has, size_t i, const PageDescent& descent,
            const std::vector<uint64_t>& row, const std::vector<size_t>& family, const std::vector<PageRun>& areas,
            Finding& found) {
    uint64_t held = descent.held(i), end = at + kPageSize;
    if (descent.is_given(i)) {
      size_t holder = frame == held ? i : static_cast<size_t>(std::ranges::find(row, held) - row.begin());
      pid_t pid = nodes_[family[holder]].pid;
      if (!found.given.empty() && found.given.back().pid == pid && found.given.back().run.end == at)
        found.given.back().run.end = end;
      else
        found.given.push_back({pid, {at, end}});
    }
    if (has && frame != held) add_run(found.own, at, end);
    if (has && frame != held && held) add_run(found.replaced, at, end);
    bool inside = std::ranges::any_of(areas, [&](const PageRun& area) { return area.start <= at && at < area.end; });
    if (!has && held && inside) add_run(found.dropped, at, end);
  }

  size_t index_of(const Node& node) const { return static_cast<size_t>(&node - nodes_.data()); }

  // Its pages outside of the blocks that it takes part in, and those in them that it does not inherit.
  void settle(Node& node, DumpedPages& pages) {
    auto& covered = covered_[index_of(node)];
    std::ranges::sort(covered, {}, &PageRun::start);
    std::vector<PageRun> own = std::move(node.own);
    auto area = covered.begin();
    for (PageRun run : pages.runs) {
      while (area != covered.end() && area->end <= run.start) ++area;
      for (auto next = area; run.start < run.end; ++next) {
        uint64_t stop = next == covered.end() ? run.end : std::min(run.end, next->start);
        if (run.start < stop) own.push_back({run.start, stop});
        if (next == covered.end()) break;
        run.start = std::max(run.start, next->end);
      }
    }
    for (auto* runs : {&own, &node.dropped}) std::ranges::sort(*runs, {}, &PageRun::start);
    pages.runs.clear();
    for (const PageRun& run : own) add_run(pages.runs, run.start, run.end);
  }

  Dumping& dumping_;
  std::vector<Node> nodes_;
  std::vector<image::Area> blocks_;
  std::map<size_t, std::vector<PageRun>> covered_;  // areas that are parts of blocks, by node
};

}  // namespace

Result<GivenPages> find_inheritance(Dumping& dumping, std::span<const Cloner> cloners, image::Inheritance& out) {
  Search search(dumping, cloners);
  TRY(search.run());
  return search.finish(out);
}

}  // namespace ks::engine
