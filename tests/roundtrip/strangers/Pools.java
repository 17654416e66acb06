// SPDX-License-Identifier: LGPL-2.1-or-later
// Pools of threads, locks, timed waits, a collector that has much to do, and code that is compiled as it runs.
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.TreeMap;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;

class Pools {
    static String sha(String text) throws Exception {
        return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(text.getBytes()));
    }

    static String one(int task) throws Exception {
        var words = new TreeMap<String, Integer>();
        String digest = "" + task;
        for (int i = 0; i < 500; ++i) {
            digest = sha(digest);
            words.merge(digest.substring(0, 2), i, Integer::sum);
        }
        return digest + words.hashCode();
    }

    public static void main(String[] arguments) throws Exception {
        int size = Integer.parseInt(arguments[0]);
        var ticks = new AtomicLong();
        var timer = Executors.newScheduledThreadPool(1);
        timer.scheduleAtFixedRate(ticks::incrementAndGet, 1, 1, TimeUnit.MILLISECONDS);
        var pool = Executors.newFixedThreadPool(4);
        var queue = new LinkedBlockingQueue<Integer>(8);
        var consumer = pool.submit(() -> {
            long sum = 0;
            for (int expected = 0; expected < size;) {
                Integer got = queue.poll(3, TimeUnit.MILLISECONDS);
                if (got == null) continue;
                if (got != expected++) throw new IllegalStateException("out of order");
                sum = sum * 31 + got;
            }
            return sum;
        });
        List<Future<String>> results = new ArrayList<>();
        long last = System.nanoTime();
        for (int i = 0; i < size; ++i) {
            int task = i;
            results.add(pool.submit(() -> one(task)));
            queue.put(i);
            Thread.sleep(1);
            long time = System.nanoTime();
            if (time - last < 1_000_000) throw new IllegalStateException("slept too little");
            last = time;
        }
        var text = new StringBuilder();
        for (var result : results) text.append(result.get());
        text.append(consumer.get());
        pool.shutdown();
        timer.shutdown();
        if (!pool.awaitTermination(100, TimeUnit.SECONDS)) throw new IllegalStateException("the pool does not end");
        if (ticks.get() == 0) throw new IllegalStateException("no ticks");
        Files.writeString(Path.of("scratch"), text);
        System.out.println(sha(Files.readString(Path.of("scratch"))));
    }
}
