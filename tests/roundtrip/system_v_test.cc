// SPDX-License-Identifier: LGPL-2.1-or-later
// System V objects, and POSIX message queues, outlive processes, but not a kernel, nor a restore that comes to
// nothing. Here a namespace of IPC stands for the system's, so that it can be emptied as by a new kernel.
#include <gtest/gtest.h>
#include <mqueue.h>
#include <sched.h>
#include <sys/sem.h>
#include <sys/wait.h>
#include <unistd.h>

#include <random>
#include <thread>

#include "base/file.h"
#include "engine/context/namespace_state.h"
#include "engine/kernel/system_v.h"
#include "engine_process.h"
#include "family.h"
#include "subject.h"

namespace ks::test {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kKills = 25;

// Of all kinds, by what they are called.
std::vector<std::string> objects() {
  std::vector<std::string> labels;
  auto all = engine::list_system_v().value();
  for (const auto& object : all) labels.push_back(object.label());
  auto queues = engine::list_message_queues().value();
  for (const auto& queue : queues) labels.push_back("/" + queue.name);
  return labels;
}

void remove_all() {
  auto all = engine::list_system_v().value();
  for (const auto& object : all) ASSERT_TRUE(engine::remove_system_v(object.type, object.id));
  auto queues = engine::list_message_queues().value();
  for (const auto& queue : queues) ASSERT_EQ(::mq_unlink(("/" + queue.name).c_str()), 0);
}

class SystemV : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "must be run as root";
    if (::unshare(CLONE_NEWIPC)) GTEST_SKIP() << "no IPC namespaces";
    become_reaper();
    subject_.emplace(place_, GetParam());
    std::string trouble = subject_->await_ready();
    if (trouble.starts_with("skipped: ")) GTEST_SKIP() << trouble;
    ASSERT_EQ(trouble, "");
    Outcome outcome = EngineProcess::dump(subject_->pid(), image_, {}).wait();
    ASSERT_TRUE(outcome.done()) << outcome;
    forget_end(subject_->pid());
    ASSERT_FALSE(objects().empty());
    ASSERT_NO_FATAL_FAILURE(remove_all());
  }
  EngineProcess restore_almost() {
    return EngineProcess([this]() -> Result<> {
      auto engine = TRY(engine::Engine::open());
      TRY(engine.restore(image_, {.before_thaw = [] { return fail("far enough"); }}));
      return {};
    });
  }
  // Until all that was killed, and who clears up after it, is gone.
  static void await_end_of_all() {
    auto limit = Clock::now() + 10s;
    for (reap(); !descendants(::getpid()).empty() && Clock::now() < limit; reap()) std::this_thread::sleep_for(1ms);
    EXPECT_TRUE(descendants(::getpid()).empty());
  }
  void finish() {
    forget_end(subject_->pid());
    Outcome outcome = EngineProcess::restore(image_).wait();
    ASSERT_TRUE(outcome.done()) << outcome;
    subject_->tell();
    EXPECT_EQ(subject_->await_success(), "");
    EXPECT_TRUE(objects().empty());
  }

  Workplace place_;
  std::string image_ = place_.file("image");
  std::optional<Subject> subject_;
};

TEST_P(SystemV, IsMadeAnewByANewKernel) { finish(); }

TEST_P(SystemV, IsNotLeftByARestoreThatFails) {
  EXPECT_EQ(restore_almost().wait().text, "far enough");
  await_end_of_all();
  EXPECT_TRUE(objects().empty());
  finish();
}

TEST_P(SystemV, IsNotLeftByARestoreThatIsKilled) {
  auto start = Clock::now();
  EXPECT_EQ(restore_almost().wait().text, "far enough");
  auto longest = Clock::now() - start;
  std::mt19937 random(std::random_device{}());
  for (int i = 0; i < kKills; ++i) {
    EngineProcess engine = restore_almost();
    auto instant = longest * (i * 1000 + static_cast<int>(random() % 1000)) / (kKills * 1000);
    std::this_thread::sleep_for(instant);
    engine.kill();
    (void)engine.wait();
    await_end_of_all();
    ASSERT_TRUE(objects().empty()) << objects().front() << ", killed after " << instant / 1us << " us";
  }
  finish();
}

TEST_P(SystemV, IsNotTakenFromSomebodyElse) {
  if (!std::string(GetParam()).starts_with("system_v")) GTEST_SKIP() << "has names instead of numbers";
  auto made = engine::make_system_v(engine::SystemVType::memory, 0, IPC_PRIVATE, 0600, 4096, {});
  for (auto type : {engine::SystemVType::queue, engine::SystemVType::semaphores})
    if (made) made = engine::make_system_v(type, 0, IPC_PRIVATE, 0600, 3, {});
  ASSERT_TRUE(made) << made.error().what;
  Outcome outcome = EngineProcess::restore(image_).wait();
  EXPECT_EQ(outcome.end, Outcome::End::failed) << outcome;
  EXPECT_NE(outcome.text.find(" 0: is somebody else's by now"), std::string::npos) << outcome;
  await_end_of_all();
  EXPECT_EQ(objects().size(), 3u);
  ASSERT_NO_FATAL_FAILURE(remove_all());
  finish();
}

// After a swap that did not happen: somebody has received a message of a service that is down.
TEST(MessageQueue, ThatHasChangedIsNotTakenAgain) {
  if (::geteuid() != 0) GTEST_SKIP() << "must be run as root";
  if (::unshare(CLONE_NEWIPC)) GTEST_SKIP() << "no IPC namespaces";
  become_reaper();
  Workplace place;
  Subject subject(place, "queued_messages");
  std::string trouble = subject.await_ready();
  if (trouble.starts_with("skipped: ")) GTEST_SKIP() << trouble;
  ASSERT_EQ(trouble, "");
  Outcome outcome = EngineProcess::dump(subject.pid(), place.file("image"), {}).wait();
  ASSERT_TRUE(outcome.done()) << outcome;
  forget_end(subject.pid());
  mqd_t queue = ::mq_open(("/kernel-swap-queued-" + std::to_string(subject.pid())).c_str(), O_RDWR);
  char text[100];
  unsigned priority;
  ASSERT_EQ(::mq_receive(queue, text, sizeof text, &priority), 1);
  ASSERT_EQ(::mq_send(queue, "?", 1, priority), 0);  // as full as before
  outcome = EngineProcess::restore(place.file("image")).wait();
  EXPECT_EQ(outcome.end, Outcome::End::failed) << outcome;
  EXPECT_NE(outcome.text.find("is in use by pid"), std::string::npos) << outcome;
  ::mq_close(queue);
  outcome = EngineProcess::restore(place.file("image")).wait();
  EXPECT_EQ(outcome.end, Outcome::End::failed) << outcome;
  EXPECT_NE(outcome.text.find("its name is taken"), std::string::npos) << outcome;
  ASSERT_NO_FATAL_FAILURE(remove_all());
  outcome = EngineProcess::restore(place.file("image")).wait();
  ASSERT_TRUE(outcome.done()) << outcome;
  subject.tell();
  EXPECT_EQ(subject.await_success(), "");
}

// Any process with threads could have adjustments (SEM_UNDO) of any set there is.
TEST(SystemVOfOthers, MayBeInUseDuringADump) {
  if (::geteuid() != 0) GTEST_SKIP() << "must be run as root";
  if (::unshare(CLONE_NEWIPC)) GTEST_SKIP() << "no IPC namespaces";
  become_reaper();
  ASSERT_TRUE(engine::make_system_v(engine::SystemVType::semaphores, 0, IPC_PRIVATE, 0600, 3, {}));
  pid_t busy = ::fork();
  if (busy == 0) {
    for (sembuf up{1, 1, 0}, down{1, -1, 0};;)
      if (::semop(0, &up, 1) || ::semop(0, &down, 1)) ::_exit(1);
  }
  Workplace place;
  Subject subject(place, "threads");
  ASSERT_EQ(subject.await_ready(), "");
  for (int i = 0; i < 20; ++i) {
    Outcome outcome = EngineProcess::dump(subject.pid(), place.file("image"), {.leave_running = true}).wait();
    ASSERT_TRUE(outcome.done()) << outcome;
    ASSERT_TRUE(std::filesystem::remove_all(place.file("image")));
  }
  EXPECT_EQ(::waitpid(busy, nullptr, WNOHANG), 0);
  subject.tell();
  EXPECT_EQ(subject.await_success(), "");
}

INSTANTIATE_TEST_SUITE_P(Programs, SystemV,
                         testing::Values("system_v_huge", "system_v_memory", "system_v_queues", "system_v_semaphores",
                                         "message_queues", "queue_notifications", "queued_messages"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace ks::test
