// What people read about the ways in which a page can store what it receives.

// The label of the button that writes to the disk as the files arrive, and what the person should know about it.
export const WAYS = {
  file: ["Save as …", "It is written to the disk as it arrives. After a reload of the page it goes on, if you allow it again."],
  folder: ["Save into a folder …", "They are written to the folder as they arrive. After a reload of the page it goes on, if you allow it again."],
  downloads: ["Save to the downloads", "It goes to the browser's downloads as it arrives. A download cannot go on after a reload of the page: it starts again."],
};

export const PLACES = {
  file: "in the file that you chose", folder: "in the folder that you chose", downloads: "in the browser's downloads", private: "stored", memory: "stored",
};
