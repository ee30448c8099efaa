"""Sets in file formats of other libraries, which can be read back: image folder, MedMNIST's npz, Hugging Face."""
